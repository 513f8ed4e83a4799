import { remote } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { shellWord } from "../render/quote";
import { AGENT, AGENT_PATH } from "./agent";
import { type Artefact, file } from "./artefact";
import type { Connection } from "./connection";
import { artefactId, type Knowledge, type Sandbox } from "./drift";

export interface ContainerArgs {
  readonly connection: Connection;
  readonly vmid: number;
  /** What the probe found there. */
  readonly knowledge: Knowledge;
  /** How its units are to be sandboxed: no more than it permits. */
  readonly sandbox: Sandbox;
}

/**
 * The one door into a container: everything that is to stand in it is declared here, and travels by `pct exec` on its
 * host. Nothing else uses SSH, `pct` or `remote.Command`.
 */
export class Container extends pulumi.ComponentResource {
  /** The token of every artefact declared, by artefact: what a reviewer without access to the host compares with. */
  readonly tokens: Record<string, pulumi.Input<string>> = {};

  private readonly label: string;
  private readonly args: ContainerArgs;
  private readonly connection: pulumi.Input<remoteConnection>;
  private readonly agent: remote.Command;

  /** @param name Prefix of the names of all artefacts, e.g. `ct2320`. */
  constructor(name: string, args: ContainerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:Container", name, {}, opts);
    this.label = name;
    this.args = args;
    this.connection = commandConnection(args.connection);
    // The agent installs itself: there is nothing in the container yet that could.
    this.agent = this.run(
      file({ path: AGENT_PATH, mode: "0755", content: AGENT }),
      `bash --norc -c 'agent=$(cat); eval "$agent" <<<"$agent"' agent`,
      { parent: this },
    );
    this.registerOutputs();
  }

  /** How units in the container are sandboxed. */
  get sandbox(): Sandbox {
    return this.args.sandbox;
  }

  /** Declares an artefact. It is applied after the agent and whatever `opts.dependsOn` names, removed before. */
  declare(artefact: Artefact, opts: pulumi.CustomResourceOptions): remote.Command {
    const dependsOn = pulumi.output(opts.dependsOn ?? []).apply((before) => [this.agent, before].flat());
    return this.run(artefact, AGENT_PATH, { ...opts, dependsOn });
  }

  private run(artefact: Artefact, agent: string, opts: pulumi.CustomResourceOptions): remote.Command {
    const { vmid, knowledge } = this.args;
    const token = knowledge.token(artefact);
    const words = [artefact.kind, ...artefact.parameters].map(shellWord).join(" ");
    const command = new remote.Command(
      `${this.label}:${resourceLabel(artefact)}`,
      {
        connection: this.connection,
        // The token is on a line of its own, so that its change is a short line of a diff.
        create: pulumi.interpolate`pct exec ${vmid} -- ${agent} apply ${token} \\\n  ${words}`,
        // Gone with its container, or with a container that was made anew: nothing to remove. Stopped: an error.
        delete: `pct exec ${vmid} -- ${AGENT_PATH} remove \\\n  ${words} ||
  pct exec ${vmid} -- test ! -e ${AGENT_PATH} -a ! -e /var/lib/pgbackup/receipts 2>/dev/null ||
  { pct config ${vmid} 2>&1 | grep -q 'does not exist' && ! ls /etc/pve/nodes/*/lxc/${vmid}.conf >/dev/null 2>&1; }`,
        stdin: artefact.content,
        addPreviousOutputInEnv: false,
      },
      opts,
    );
    this.tokens[artefactId(artefact)] = token;
    const drift = knowledge.drift(artefact);
    if (drift !== undefined) {
      // Beside the component: a message waits for its resource to be registered, and all later ones wait for it; for
      // an artefact whose apply fails that would be for ever.
      void pulumi.log.warn(`${resourceLabel(artefact)} was changed in container ${vmid}: ${drift}`, this);
    }
    return command;
  }
}

type remoteConnection = NonNullable<remote.CommandArgs["connection"]> extends pulumi.Input<infer T> ? T : never;

function commandConnection(connection: Connection): remoteConnection {
  const { host, port, user, hostKey, jumpHost } = connection;
  const login = {
    privateKey: connection.privateKey === undefined ? undefined : pulumi.secret(connection.privateKey),
    privateKeyPassword:
      connection.privateKeyPassword === undefined ? undefined : pulumi.secret(connection.privateKeyPassword),
  };
  return { host, port, user, hostKey, ...login, proxy: jumpHost && { ...jumpHost, ...login } };
}

/** What a reader of a preview sees of an artefact: its path or unit, or its kind where the name alone says too little. */
function resourceLabel({ kind, parameters: [first = ""] }: Artefact): string {
  switch (kind) {
    case "packages":
      return kind;
    case "account":
    case "audit":
    case "role":
      return `${kind}-${first}`;
    default:
      return first;
  }
}
