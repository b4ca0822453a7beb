/** Errors as sentences that say what to do. */

import { Away, Problem, type ProblemBody } from "./api";
import { t } from "./text";

/** A sentence that is said as it is. */
export class Told extends Error {}

export function sentence(error: unknown): string {
  if (error instanceof Told) return error.message;
  if (error instanceof Away) return t("problem.away");
  if (error instanceof Problem) return problemText(error.body);
  return t("problem.bug", { detail: String(error instanceof Error ? error.message : error) });
}

/** The kind of a problem in the language of the page, then what the service says of this one. */
export function problemText(body: ProblemBody): string {
  const slug = body.type.split(":").at(-1) ?? "";
  if (slug === "away") return t("problem.away");
  if (slug === "bug") return t("problem.bug", { detail: body.detail });
  return t.has(`problem.${slug}`) ? `${t(`problem.${slug}` as "problem.busy")} ${body.detail}` : body.detail;
}
