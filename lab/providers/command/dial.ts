import { createConnection } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { type AnyAuthMethod, Client, type ServerHostKeyAlgorithm } from "ssh2";
import type { Context } from "../protocol/provider";
import type { Connection, Endpoint } from "./connection";
import { authMethods, hostKeyBlob } from "./credentials";

/**
 * Go's order of preference (golang.org/x/crypto/ssh, defaultHostKeyAlgos). A host that has several keys shows the
 * first of these, whichever of them is expected: the key of another type is then a mismatch.
 */
const HOST_KEY_ALGORITHMS: ServerHostKeyAlgorithm[] = [
  ...(["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"] as const),
  ...(["rsa-sha2-256", "rsa-sha2-512", "ssh-rsa", "ssh-ed25519"] as const),
];

/** Connects, through the proxy if there is one, and retries as often and as patiently as the official plugin. */
export async function dial(connection: Connection, context: Context): Promise<Client> {
  const { proxy, dialErrorLimit: limit } = connection;
  const login = await prepare(connection);
  if (!proxy) return retry("Dial", limit, context, async () => handshake(await open(connection), login));
  try {
    const proxyLogin = await prepare(proxy);
    const through = await retry("Dial proxy", proxy.dialErrorLimit, context, async () =>
      handshake(await open(proxy), proxyLogin),
    );
    try {
      const tunnel = await retry("Dial from proxy", limit, context, () => forward(through, connection));
      // The official plugin tries again on the same stream, where nothing can come of it; so once is enough here.
      let failed: Error | undefined;
      const client = await retry("Dial", limit, context, async () => {
        if (failed) throw failed;
        return handshake(tunnel, login).catch((error: Error) => {
          throw (failed = error);
        });
      });
      return client.once("close", () => through.end());
    } catch (error) {
      through.end();
      throw error;
    }
  } catch (error) {
    throw new Error(`proxy: ${(error as Error).message}`);
  }
}

interface Login {
  readonly user: string;
  readonly methods: AnyAuthMethod[];
  readonly hostKey?: Buffer;
}

const prepare = async (endpoint: Endpoint): Promise<Login> => ({
  user: endpoint.user,
  hostKey: endpoint.hostKey === undefined ? undefined : hostKeyBlob(endpoint.hostKey),
  methods: await authMethods(endpoint),
});

/** 100 ms, then half as much again each time, 5 s at most (pulumi sdk, retry.Until). */
async function retry<T>(what: string, limit: number, context: Context, attempt: () => Promise<T>): Promise<T> {
  let pause = 100;
  for (let failed = 1; ; failed++) {
    try {
      return await attempt();
    } catch (error) {
      if (limit > -1 && failed > limit) {
        throw new Error(`after ${failed - 1} failed attempts: ${(error as Error).message}`);
      }
      context.log("info", `${what} ${failed}/${limit === -1 ? "inf" : limit} failed: retrying`, true);
    }
    await delay(pause, undefined, { signal: context.signal }).catch(() => {
      throw new Error("context canceled");
    });
    pause = Math.min(pause * 1.5, 5000);
  }
}

function open({ host, port, perDialTimeout }: Endpoint): Promise<Duplex> {
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port, noDelay: true });
    const give = (reason: string): void => {
      socket.destroy();
      reject(new Error(reason));
    };
    if (perDialTimeout > 0) socket.setTimeout(perDialTimeout * 1000, () => give(`dial tcp ${address}: i/o timeout`));
    socket.once("error", (error: NodeJS.ErrnoException) => give(dialError(host, address, error)));
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

const CONNECT_ERRORS: { [code: string]: string } = {
  ECONNREFUSED: "connection refused",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  ETIMEDOUT: "connection timed out",
  ECONNRESET: "connection reset by peer",
};

function dialError(host: string, address: string, { code = "", message }: NodeJS.ErrnoException): string {
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return `dial tcp: lookup ${host}: no such host`;
  return `dial tcp ${address}: connect: ${CONNECT_ERRORS[code] ?? message}`;
}

function forward(proxy: Client, { host, port }: Endpoint): Promise<Duplex> {
  return new Promise((resolve, reject) =>
    proxy.forwardOut("127.0.0.1", 0, host, port, (error, stream) =>
      error ? reject(new Error(`ssh: rejected: connect failed (${error.message})`)) : resolve(stream),
    ),
  );
}

/** The SSH handshake on an open stream, without a time limit, like Go's. */
function handshake(sock: Duplex, login: Login): Promise<Client> {
  const tried: string[] = [];
  const methods = [...login.methods];
  let mismatch = false;
  return new Promise((resolve, reject) => {
    const client = new Client();
    const refuse = (reason: string): void => {
      client.end();
      reject(new Error(`ssh: handshake failed: ${reason}`));
    };
    client.once("ready", () => {
      client.removeAllListeners("error").on("error", () => client.end());
      resolve(client);
    });
    client.on("error", (error) => {
      if (mismatch) refuse("ssh: host key mismatch");
      else if (error.level !== "client-authentication") refuse(error.message);
      else refuse(`ssh: unable to authenticate, attempted methods [${tried.join(" ")}], no supported methods remain`);
    });
    client.once("close", () => refuse("EOF"));
    client.connect({
      sock,
      username: login.user,
      readyTimeout: 0,
      algorithms: { serverHostKey: HOST_KEY_ALGORITHMS },
      hostVerifier: (key: Buffer) => !(mismatch = login.hostKey !== undefined && !key.equals(login.hostKey)),
      authHandler: (left, _partial, next) => {
        // ssh2 hands out null before the server has said what it accepts.
        const offered = left as string[] | null;
        const index = methods.findIndex(({ type }) => type === "none" || !offered || offered.includes(wireName(type)));
        const [method] = index < 0 ? [] : methods.splice(index, 1);
        if (method) tried.push(wireName(method.type));
        // The typing of ssh2 has no place for "no method is left", which is false.
        next(method ?? (false as unknown as AnyAuthMethod));
      },
    });
  });
}

/** In the protocol, an agent is only another way to hold a public key. */
const wireName = (type: string): string => (type === "agent" ? "publickey" : type);
