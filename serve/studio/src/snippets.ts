/** The same drawing from a shell or from Python. */

import { address } from "./api";
import { fieldsOf, type Form } from "./form";

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(form: Form, withKey: boolean): string {
  const parts = [`curl -f ${quoted(address("/v1/layers?format=psd"))} -F background=@background.png`];
  parts.push(...fieldsOf(form, form.seed).map(([name, value]) => `-F ${quoted(`${name}=${value}`)}`));
  if (form.candidates > 1) parts.push(`-F candidates=${form.candidates}`);
  if (form.reference) parts.push("-F reference=@reference.png");
  if (withKey) parts.push('-H "Authorization: Bearer $BFS_API_KEY"');
  parts.push('-H "Prefer: wait=300" -o layer.psd');
  return parts.join(" \\\n    ");
}

export function python(form: Form): string {
  const given: string[] = [`seed=${form.seed}`];
  if (form.steps !== null) given.push(`steps=${form.steps}`);
  if (form.guidance !== null) given.push(`true_cfg_scale=${form.guidance}`);
  if (form.candidates > 1) given.push(`candidates=${form.candidates}`);
  if (form.reference) given.push(`reference="reference.png"`);
  if (form.model !== null) given.push(`model=${JSON.stringify(form.model)}`);
  return `from bfs_platform.client import BFSClient

with BFSClient(${JSON.stringify(address("/").replace(/\/$/, ""))}) as client:
    drawn = client.draw("background.png", (${(form.box ?? []).join(", ")}), ${JSON.stringify(form.prompt)}, ${given.join(", ")})
    with open("layer.psd", "wb") as file:
        file.write(client.file(drawn.id, "psd"))
`;
}
