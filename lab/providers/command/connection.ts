import { isObject, number, Props, text } from "../protocol/values";

/** Where and how to log in; a host may be reached through another one. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string;
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  readonly agentSocketPath?: string;
  /** Public key of the server as in authorized_keys; not set means that anybody will do. */
  readonly hostKey?: string;
  /** Failed attempts after which to give up; -1 means never. */
  readonly dialErrorLimit: number;
  /** Seconds for the TCP connection; 0 means no limit. */
  readonly perDialTimeout: number;
}

export interface Connection extends Endpoint {
  readonly proxy?: Endpoint;
}

const DEFAULTS: Props = { port: 22, user: "root", dialErrorLimit: 10, perDialTimeout: 15 };

export function connectionDefaults(connection: Props): Props {
  const { proxy } = connection;
  return { ...DEFAULTS, ...connection, ...(isObject(proxy) ? { proxy: { ...DEFAULTS, ...proxy } } : {}) };
}

export function readConnection(connection: Props): Connection {
  const { proxy } = connection;
  return { ...readEndpoint(connection), ...(isObject(proxy) ? { proxy: readEndpoint(proxy) } : {}) };
}

function readEndpoint(props: Props): Endpoint {
  const withDefaults = { ...DEFAULTS, ...props };
  const optional = (key: string): string | undefined => text(props[key]);
  return {
    host: optional("host") ?? "",
    port: number(withDefaults.port) ?? 22,
    user: text(withDefaults.user) ?? "root",
    password: optional("password"),
    privateKey: optional("privateKey"),
    privateKeyPassword: optional("privateKeyPassword"),
    agentSocketPath: optional("agentSocketPath"),
    hostKey: optional("hostKey"),
    dialErrorLimit: number(withDefaults.dialErrorLimit) ?? 10,
    perDialTimeout: number(withDefaults.perDialTimeout) ?? 15,
  };
}
