import { isIP } from "node:net";

export interface SandboxArgs {
  /**
   * `full`: with a file system view of its own. `basic`: without what a container that may not mount refuses (it would
   * fail every start with 226/NAMESPACE).
   */
  readonly sandbox: "full" | "basic";
  /** Directories the service writes to. */
  readonly writable: readonly string[];
  /**
   * Names or addresses of the hosts the service talks to; without any, it may open no socket but this machine's own.
   * Where each is given by its address, it is allowed no other.
   */
  readonly hosts: readonly string[];
  /**
   * Whether its account is nobody else's, so that shared memory it leaves behind may be removed. Never for postgres: the
   * production server's would go along.
   */
  readonly ownAccount: boolean;
}

/**
 * Options that systemd enforces by system call filters and capabilities: they work in every container. A forbidden call
 * is refused rather than the end of its program, because every Go program, age for one, begins with one (prlimit64).
 *
 * Not among them: PrivateUsers=, because the group postgres would be nobody to the service.
 */
export const BASIC = `NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
MemoryDenyWriteExecute=yes
DevicePolicy=closed
ProtectClock=yes
ProtectHostname=yes
UMask=0077`;

/** Options that give the service a file system view of its own. */
const FULL = `ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset=pid
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes`;

/** Renders the lines of a service's [Service] section that keep it to its task. */
export function renderSandbox(args: SandboxArgs): string {
  const { sandbox, writable, ownAccount } = args;
  return [
    BASIC,
    ...(ownAccount ? ["RemoveIPC=yes"] : []),
    ...renderNetwork(args),
    sandbox === "full"
      ? `${FULL}\nReadWritePaths=${writable.join(" ")}`
      : "# No file system view of its own: this container may not mount (nesting=1 is off), or hardening is basic.",
  ].join("\n");
}

function renderNetwork({ hosts }: SandboxArgs): string[] {
  if (hosts.length === 0) return ["RestrictAddressFamilies=AF_UNIX"];
  const families = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6";
  if (!hosts.every(isAddress)) return ["# Any address: its targets are given by name.", families];
  return [
    families,
    "# An unprivileged container does not enforce this.",
    "IPAddressDeny=any",
    `IPAddressAllow=${unique(hosts)}`,
  ];
}

function isAddress(host: string): boolean {
  return isIP(host) !== 0;
}

function unique(hosts: readonly string[]): string {
  return [...new Set(hosts)].sort().join(" ");
}

/** Says in Markdown what a service in such a sandbox is kept from, and what it is not kept from. */
export function describeSandbox({ sandbox, writable, hosts }: SandboxArgs): string {
  const directories = writable.join(", ");
  const lines = [
    "Refused by the kernel: gaining privileges (sudo, set-user-id programs), namespaces, mounts, kernel modules, the clock, tracing, raw and netlink sockets, memory that is both written and executed.",
    sandbox === "full"
      ? `Refused by a file system view of its own: writing anywhere but ${directories} and a /tmp of its own; seeing /root, /home, devices and other accounts' processes.`
      : `**Not enforced** here, because the container may not mount (\`nesting=1\` is off) or \`hardening\` is basic: a file system view of its own. File modes alone keep it from /etc, /root and others' files; it sees /tmp and other processes.`,
  ];
  if (hosts.length === 0) {
    lines.push("Refused by the kernel: any network socket; there is nothing for it to reach.");
  } else if (hosts.every(isAddress)) {
    lines.push(
      `Allowed addresses: ${unique(hosts)}. **Not enforced** in an unprivileged container, where systemd cannot filter packets: a firewall on the host can.`,
    );
  } else {
    lines.push(
      "**Not enforced**: which addresses it reaches, because its targets are given by name. A firewall on the host can.",
    );
  }
  return lines.map((line) => `- ${line}`).join("\n");
}
