import * as pulumi from "@pulumi/pulumi";
import type { Artefact } from "./artefact";
import { artefactId, type Knowledge, type Sandbox } from "./drift";

/** What a deployment remembers of a container for those who cannot ask it: an output of the stack. */
export interface Memory {
  readonly sandbox: Sandbox;
  readonly tokens: Readonly<Record<string, string>>;
}

/**
 * What the stack's last deployment knew of its containers, by name; nothing of those it did not have. Read from the
 * stack's own outputs, without reaching the host.
 */
export async function rememberLastDeployment(output: string): Promise<(name: string) => Knowledge> {
  const self = new pulumi.StackReference(`${pulumi.getOrganization()}/${pulumi.getProject()}/${pulumi.getStack()}`);
  const details = await self.getOutputDetails(output);
  const memories = (details.value ?? details.secretValue ?? {}) as Readonly<Record<string, Memory>>;
  return (name) => new LastDeployment(memories[name] ?? { sandbox: "full", tokens: {} });
}

class LastDeployment implements Knowledge {
  readonly sandbox: Sandbox;
  private readonly tokens: Memory["tokens"];

  constructor({ sandbox, tokens }: Memory) {
    this.sandbox = sandbox;
    this.tokens = tokens;
  }

  token(artefact: Artefact): string {
    return this.tokens[artefactId(artefact)] ?? "new";
  }

  drift(): undefined {
    return undefined;
  }
}
