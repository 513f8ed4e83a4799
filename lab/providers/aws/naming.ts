import { randomBytes } from "node:crypto";
import { Props, text } from "../protocol/values";

/** A resource without a name of its own gets one at the first deployment and keeps it. */
export function withAutoName(key: string, inputs: Props, previous: Props, resourceName: string): Props {
  if (inputs[key] !== undefined && inputs[key] !== null) return inputs;
  return { ...inputs, [key]: text(previous[key]) ?? `${resourceName}-${randomBytes(4).toString("hex").slice(0, 7)}` };
}

export const asTags = (tags: Props): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([key, value]) => ({ Key: key, Value: text(value) ?? "" }));

export const fromTags = (tags: readonly { Key?: string; Value?: string }[] | undefined): Props =>
  Object.fromEntries((tags ?? []).map(({ Key, Value }) => [Key ?? "", Value ?? ""]));
