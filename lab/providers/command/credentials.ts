import { connect } from "node:net";
import { type ParsedKey, utils } from "ssh2";
import type { AnyAuthMethod } from "ssh2";
import type { Endpoint } from "./connection";

/** Everything that can be wrong with keys is found before dialling, and is not retried. The texts are Go's. */
export async function authMethods(endpoint: Endpoint): Promise<AnyAuthMethod[]> {
  const { user: username, password } = endpoint;
  const methods: AnyAuthMethod[] = [{ type: "none", username }];
  // Go tries each kind of method once, so the agent is asked only where there is no private key.
  const agent = endpoint.agentSocketPath ?? (process.env.SSH_AUTH_SOCK || undefined);
  if (agent !== undefined) await reachable(agent);
  if (endpoint.privateKey !== undefined) {
    methods.push({ type: "publickey", username, key: privateKey(endpoint.privateKey, endpoint.privateKeyPassword) });
  } else if (agent !== undefined) {
    methods.push({ type: "agent", username, agent });
  }
  if (password !== undefined) {
    methods.push({ type: "password", username, password });
    methods.push({
      type: "keyboard-interactive",
      username,
      prompt: (_name, _instructions, _language, prompts, finish) => finish(prompts.map(() => password)),
    });
  }
  return methods;
}

/** Throws Go's words for an agent that is not there. */
function reachable(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve();
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "ENOENT" ? "no such file or directory" : "connection refused";
      reject(new Error(`dial unix ${path}: connect: ${reason}`));
    });
  });
}

function privateKey(pem: string, passphrase: string | undefined): ParsedKey {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) throw new Error("ssh: no key found");
  const plain = utils.parseKey(pem);
  if (passphrase === undefined) {
    if (!(plain instanceof Error)) return plain;
    if (/passphrase/.test(plain.message)) throw new Error("ssh: this private key is passphrase protected");
    throw new Error(`ssh: ${plain.message}`);
  }
  if (!(plain instanceof Error)) throw new Error("ssh: not an encrypted key");
  const decrypted = utils.parseKey(pem, passphrase);
  if (decrypted instanceof Error) throw new Error("x509: decryption password incorrect");
  return decrypted;
}

/** The key of one authorized_keys line, in wire format. */
export function hostKeyBlob(line: string): Buffer {
  const fields = /^\s*(\S+)\s+([A-Za-z0-9+/]+=*)(\s|$)/m.exec(line);
  const [type, blob] = [fields?.[1] ?? "", Buffer.from(fields?.[2] ?? "", "base64")];
  // The blob begins with its own type, which must be the one it is announced as.
  const announced = blob.subarray(4, 4 + (blob.length >= 4 ? blob.readUInt32BE(0) : 0)).toString("latin1");
  if (type === "" || announced !== type) throw new Error("ssh: no key found");
  return blob;
}
