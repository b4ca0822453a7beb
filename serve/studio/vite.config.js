import { defineConfig } from "vite";

// Addresses are relative, so that the page works at any prefix; names of assets hold their content's hash.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../bfs_serve/studio",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the Content-Security-Policy lets no fonts in from data: addresses
    modulePreload: { polyfill: false },
  },
});
