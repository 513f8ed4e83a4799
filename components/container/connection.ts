import { Client, type ConnectConfig } from "ssh2";

/** Where and how a Proxmox host is reached by SSH; what `remote.Command` and the probe both connect with. */
export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Public key the host must show, `<type> <base64>`. */
  readonly hostKey: string;
  /** OpenSSH private key; without one the agent at SSH_AUTH_SOCK is asked. */
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  readonly jumpHost?: JumpHost;
}

/** A host in between, logged in to with the same key. */
export interface JumpHost {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly hostKey: string;
}

/** What a command on the host answered. */
export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How long connecting may take, in milliseconds: what the command provider allows one dial by default. */
const CONNECT_TIMEOUT = 15_000;

/**
 * The order in which Go's SSH client, and so the command provider, asks a host for one of its keys. A host with several
 * shows the first of these, so the pinned key has to be that one; asking in the same order finds a wrong pin at once.
 */
const HOST_KEY_ORDER = [
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-256",
  "rsa-sha2-512",
  "ssh-ed25519",
] as const;

/**
 * Runs one command on the host through a connection of its own.
 *
 * @throws Error that names the host and the setting to look at, where no connection comes about.
 */
export async function runOnHost(connection: Connection, command: string, stdin: string): Promise<Answer> {
  const jump = connection.jumpHost && (await connect(connection.jumpHost, "jumpHost", connection));
  try {
    const client = await connect(connection, "host", connection, jump && (await tunnel(jump, connection)));
    try {
      return await execute(client, command, stdin);
    } finally {
      client.end();
    }
  } finally {
    jump?.end();
  }
}

function connect(
  target: JumpHost,
  setting: "host" | "jumpHost",
  credentials: Connection,
  sock?: ConnectConfig["sock"],
): Promise<Client> {
  const { host, port, user } = target;
  let shown: string | undefined;
  return new Promise((resolve, reject) => {
    const client = new Client();
    client.on("ready", () => resolve(client));
    client.on("error", (error) => reject(new Error(explain(error, setting, target, shown))));
    try {
      client.connect({
        host,
        port,
        username: user,
        sock,
        privateKey: credentials.privateKey,
        passphrase: credentials.privateKeyPassword,
        agent: credentials.privateKey === undefined ? process.env.SSH_AUTH_SOCK : undefined,
        readyTimeout: CONNECT_TIMEOUT,
        algorithms: { serverHostKey: [...HOST_KEY_ORDER] },
        hostVerifier: (key: Buffer) => {
          shown = `${key.subarray(4, 4 + key.readUInt32BE(0)).toString()} ${key.toString("base64")}`;
          return shown === target.hostKey.split(/\s+/, 2).join(" ");
        },
      });
    } catch (error) {
      reject(new Error(`privateKey: cannot be used: ${messageOf(error)}. An OpenSSH or PEM private key is needed.`));
    }
  });
}

function explain(error: Error, setting: string, { host, port, user, hostKey }: JumpHost, shown?: string): string {
  const where = `${setting} ${host}:${port}`;
  if (shown !== undefined && shown !== hostKey.split(/\s+/, 2).join(" ")) {
    return (
      `${where} showed another host key than the one pinned in hostKey.\n` +
      `  pinned ${hostKey}\n  shown  ${shown}\n` +
      `Compare the shown one with /etc/ssh/ssh_host_*_key.pub on the host's console before you pin it.`
    );
  }
  if (error.message.includes("authentication methods failed")) {
    return `${where} does not let ${user} in with this key: check hostUser and privateKey, and authorized_keys there.`;
  }
  return `${where} cannot be reached: ${error.message}. Check ${setting}, hostPort and the network between.`;
}

function tunnel(jump: Client, { host, port }: Connection): Promise<ConnectConfig["sock"]> {
  return new Promise((resolve, reject) => {
    jump.forwardOut("127.0.0.1", 0, host, port, (error, stream) => {
      if (error) reject(new Error(`host ${host}:${port} cannot be reached from the jump host: ${error.message}`));
      else resolve(stream);
    });
  });
}

function execute(client: Client, command: string, stdin: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (error) {
        reject(error);
        return;
      }
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      let code = -1;
      channel.on("data", (data: Buffer) => stdout.push(data));
      channel.stderr.on("data", (data: Buffer) => stderr.push(data));
      channel.on("exit", (status: number | null) => (code = status ?? -1));
      channel.on("close", () =>
        resolve({ code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }),
      );
      channel.end(stdin);
    });
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
