import * as pulumi from "@pulumi/pulumi";
import type { ContainerSettings, Hardening, Settings } from "./config";
import { type Knowledge, probe, rememberLastDeployment, type Sandbox } from "./container";

/** Output of the stack that later previews without access to the host compare with. */
export const MEMORY = "memory";

/**
 * Learns what is known of each container before anything is declared: by asking it, or, with drift detection off, from
 * the stack's last deployment.
 *
 * @throws pulumi.RunError for the first container that cannot be deployed to, in words.
 */
export async function learn(settings: Settings): Promise<(container: ContainerSettings) => Knowledge> {
  const known = await (settings.driftDetection ? askContainers(settings) : rememberContainers());
  for (const container of settings.containers) {
    const { sandbox, serverVersion } = known(container);
    checkSandbox(container, sandbox);
    checkVersion(container, serverVersion);
  }
  return known;
}

async function rememberContainers(): Promise<(container: ContainerSettings) => Knowledge> {
  void pulumi.log.warn(
    "driftDetection is off: what changed in the containers since the last `pulumi up` is not shown.",
  );
  const remembered = await rememberLastDeployment(MEMORY);
  return ({ label }) => remembered(label);
}

async function askContainers(settings: Settings): Promise<(container: ContainerSettings) => Knowledge> {
  const answers = new Map(
    await Promise.all(settings.containers.map(async (container) => [container, await probe(container)] as const)),
  );
  return (container) => {
    const knowledge = answers.get(container);
    if (!knowledge) throw new RangeError(`container ${container.vmid} is none of the settings that were learnt about`);
    return knowledge;
  };
}

/** pg_read_all_data exists since PostgreSQL 14. */
function checkVersion({ vmid, role, grants }: ContainerSettings, version = Infinity): void {
  if (grants !== "all" || version >= 140_000) return;
  throw new pulumi.RunError(
    `grants is "all", but container ${vmid} has PostgreSQL ${Math.floor(version / 10_000)}, which can let role ${role} read ` +
      `all there is only as a superuser; right would be "schemas", with grantOwners and grantSchemas, or PostgreSQL 14 or newer.`,
  );
}

/** How units are sandboxed in a container that permits that much. */
export function chooseSandbox(hardening: Hardening, permitted: Sandbox): Sandbox {
  return hardening === "basic" ? "basic" : permitted;
}

function checkSandbox({ vmid, hardening }: ContainerSettings, permitted: Sandbox): void {
  if (permitted === "full") return;
  const why = `container ${vmid} may not mount, so its units cannot have a file system view of their own`;
  const remedy = `on the host, \`pct set ${vmid} --features nesting=1\` and a restart of the container change that`;
  if (hardening === "full") {
    throw new pulumi.RunError(`hardening is "full", but ${why}; right would be "auto" or "basic", or ${remedy}.`);
  }
  if (hardening === "auto") {
    void pulumi.log.warn(
      `The backup runs with basic hardening: ${why}. It can read and write what file modes allow its account. ` +
        `To have it all, ${remedy}; to accept it, set hardening to basic.`,
    );
  }
}
