import type { Client, ClientChannel } from "ssh2";
import type { Context } from "../protocol/provider";
import type { Connection } from "./connection";
import { dial } from "./dial";
import { quote } from "./goQuote";

export interface Run {
  readonly connection: Connection;
  /** Text for the login shell of the user. */
  readonly command: string;
  readonly stdin: string;
  /** Variables without which the command must not run. */
  readonly environment: Record<string, string>;
  /** Variables worth no more than a warning where the server refuses them. */
  readonly optionalEnvironment: Record<string, string>;
  readonly logs: { readonly stdout: boolean; readonly stderr: boolean };
}

/** Runs one command and gives what it printed, each without its last newline. */
export async function run(job: Run, context: Context): Promise<{ stdout: string; stderr: string }> {
  const client = await dial(job.connection, context);
  const abort = (): void => void client.end();
  context.signal.addEventListener("abort", abort);
  try {
    await checkEnvironment(client, job, context);
    return await session(client, job, context);
  } finally {
    context.signal.removeEventListener("abort", abort);
    client.end();
  }
}

async function session(client: Client, job: Run, context: Context): Promise<{ stdout: string; stderr: string }> {
  const env = { ...job.environment, ...set(job.optionalEnvironment) };
  const { channel, ended } = await exec(client, job.command, env);
  const all: Buffer[] = [];
  const log = lineLog(context);
  const collect = (stream: NodeJS.ReadableStream, logged: boolean): Buffer[] => {
    const own: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => {
      own.push(chunk);
      all.push(chunk);
      if (logged) log.write(chunk);
    });
    return own;
  };
  const [stdout, stderr] = [collect(channel, job.logs.stdout), collect(channel.stderr, job.logs.stderr)];
  channel.end(job.stdin);
  const failure = await ended;
  log.end();
  if (failure) throw new Error(`${failure}: running ${quote(job.command)}:\n${Buffer.concat(all).toString()}`);
  const clip = (chunks: Buffer[]): string => Buffer.concat(chunks).toString().replace(/\n$/, "");
  return { stdout: clip(stdout), stderr: clip(stderr) };
}

/** A running command, and how it will end. */
interface Session {
  readonly channel: ClientChannel;
  readonly ended: Promise<string | undefined>;
}

/** Its end is listened for at once: a short command's may come in the same packet as the answer to the request. */
const exec = (client: Client, command: string, env: Record<string, string>): Promise<Session> =>
  new Promise((resolve, reject) =>
    client.exec(command, { env }, (error, channel) =>
      error ? reject(error) : resolve({ channel, ended: exit(channel) }),
    ),
  );

/** How the command ended, in Go's words; undefined after success. */
function exit(channel: ClientChannel): Promise<string | undefined> {
  let outcome: string | undefined = "wait: remote command exited without exit status or exit signal";
  channel.on("exit", (code: number | null, signal?: string, _core?: boolean, message?: string) => {
    if (code === 0) outcome = undefined;
    else if (code !== null) outcome = `Process exited with status ${code}`;
    else {
      const name = (signal ?? "").replace(/^SIG/, "");
      outcome = `Process exited with status ${128 + (SIGNALS[name] ?? 0)} from signal ${name}`;
      if (message) outcome += `. Reason was: ${message}`;
    }
  });
  // The server is free to stop reading stdin at any time.
  channel.on("error", () => undefined);
  return new Promise((resolve) => channel.once("close", () => resolve(outcome)));
}

const SIGNALS: { [name: string]: number } = {
  ...{ HUP: 1, INT: 2, QUIT: 3, ILL: 4, ABRT: 6, FPE: 8, KILL: 9, SEGV: 11, PIPE: 13, ALRM: 14, TERM: 15 },
};

/**
 * Fails or warns if the server will not take a variable. ssh2 does not hear the server's answer to a request to set
 * one, so what has arrived is looked at in a session of its own.
 */
async function checkEnvironment(client: Client, job: Run, context: Context): Promise<void> {
  const optional = set(job.optionalEnvironment);
  const wanted = { ...job.environment, ...optional };
  if (Object.keys(wanted).length === 0) return;
  const { channel, ended } = await exec(client, "env -0", wanted);
  const chunks: Buffer[] = [];
  channel.on("data", (chunk: Buffer) => chunks.push(chunk)).end();
  await ended;
  const arrived = new Set(Buffer.concat(chunks).toString().split("\0"));
  for (const [name, value] of Object.entries(wanted)) {
    if (arrived.has(`${name}=${value}`)) continue;
    context.log(name in job.environment ? "error" : "warning", refusal(name));
    if (name in job.environment) throw new Error(`could not set environment variable "${name}": ssh: setenv failed`);
  }
}

const refusal = (name: string): string =>
  `Unable to set '${name}'. This only works if your SSH server is configured to accept these variables via ` +
  `AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, you could prefix the command ` +
  `itself with the variables in the form 'VAR=value command'`;

const set = (variables: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ""));

/** Shows output line by line while the command runs. */
function lineLog(context: Context): { write(chunk: Buffer): void; end(): void } {
  let rest = "";
  return {
    write(chunk) {
      const lines = (rest + chunk.toString()).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) context.log("info", line.replace(/\r$/, ""), true);
    },
    end() {
      if (rest !== "") context.log("info", rest, true);
    },
  };
}
