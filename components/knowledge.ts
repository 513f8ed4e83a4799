import * as pulumi from "@pulumi/pulumi";
import type { ContainerSettings, Settings } from "./config";
import { type Knowledge, probe, rememberLastDeployment } from "./container";

/** Output of the stack that later previews without access to the host compare with. */
export const MEMORY = "memory";

/**
 * Learns what is known of each container before anything is declared: by asking it, or, with drift detection off, from
 * the stack's last deployment.
 *
 * @throws pulumi.RunError for the first container that cannot be deployed to, in words.
 */
export async function learn(settings: Settings): Promise<(container: ContainerSettings) => Knowledge> {
  if (!settings.driftDetection) {
    void pulumi.log.warn(
      "driftDetection is off: what changed in the containers since the last `pulumi up` is not shown.",
    );
    const remembered = await rememberLastDeployment(MEMORY);
    return ({ label }) => remembered(label);
  }
  const answers = new Map(
    await Promise.all(settings.containers.map(async (container) => [container, await probe(container)] as const)),
  );
  return (container) => {
    const knowledge = answers.get(container);
    if (!knowledge) throw new RangeError(`container ${container.vmid} is none of the settings that were learnt about`);
    return knowledge;
  };
}
