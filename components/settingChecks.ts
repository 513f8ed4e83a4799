import { utils } from "ssh2";

/** A host name or an IP address. */
export const HOST = /^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$/;
export const HOST_RIGHT = "a host name or an IP address";
/** A user on a host. */
export const USER = /^[a-z_][a-z0-9_.-]*$/;
export const USER_RIGHT = "a user name, e.g. root";

const SEGMENT = "[A-Za-z0-9_-][A-Za-z0-9._-]*";
/** An absolute path at least one level deep. */
export const DIRECTORY = new RegExp(`^(/${SEGMENT})+$`);
export const DIRECTORY_RIGHT = "an absolute path of letters, digits, . _ - and /, without a trailing /";
/** An absolute path at least two levels deep. */
export const PATH = new RegExp(`^/${SEGMENT}(/${SEGMENT})+$`);
export const PATH_RIGHT =
  "an absolute path at least two levels deep, of letters, digits, . _ - and /, without a trailing /";

/** What is wrong with a pinned host key; undefined where nothing is. */
export function hostKeyProblem(value: string): string | undefined {
  const right = "the public key the host shows, e.g. `ssh-ed25519 AAAA…`, from /etc/ssh/ssh_host_*_key.pub there";
  return publicKeyType(value) === undefined ? right : undefined;
}

/** What is wrong with a private key that is used unattended; undefined where nothing is. */
export function unattendedKeyProblem(value: string): string | undefined {
  const right = "a private key in OpenSSH format without a passphrase, made by: ssh-keygen -t ed25519 -N '' -f nas-key";
  const key = utils.parseKey(value);
  if (key instanceof Error) {
    return key.message.startsWith("Encrypted")
      ? `${right}. This one has a passphrase, which nobody types at night`
      : right;
  }
  return key.isPrivateKey() ? undefined : `${right}. This is the public half`;
}

/**
 * The public half of a private key, as a line of authorized_keys has it.
 *
 * @throws Error for what `unattendedKeyProblem` refuses.
 */
export function publicKeyOf(privateKey: string): string {
  const key = utils.parseKey(privateKey);
  if (key instanceof Error) throw key;
  return `${key.type} ${key.getPublicSSH().toString("base64")}`;
}

/** What is wrong with a recipient of age encryption; undefined where nothing is. */
export function recipientProblem(value: string): string | undefined {
  const right = "a public key of age: age1… as age-keygen prints it, or an SSH key, ssh-ed25519 AAAA… or ssh-rsa AAAA…";
  if (value.startsWith("AGE-SECRET-KEY-"))
    return `${right}. This is a private key: it belongs on no machine of this stack`;
  // The alphabet of Bech32; age says whether the check sum at the end is right.
  if (/^age1[02-9ac-hj-np-z]{58}$/.test(value)) return undefined;
  return ["ssh-ed25519", "ssh-rsa"].includes(publicKeyType(value) ?? "") ? undefined : right;
}

/** The type of an SSH public key, e.g. ssh-ed25519; undefined where it is none. */
function publicKeyType(value: string): string | undefined {
  if (/\p{C}/u.test(value.trim())) return undefined;
  const [type = "", base64 = ""] = value.trim().split(/\s+/);
  const blob = Buffer.from(base64, "base64");
  const named = blob.length > 4 ? blob.subarray(4, 4 + blob.readUInt32BE(0)).toString() : "";
  return type !== "" && named === type ? type : undefined;
}

/** What is wrong with a database name; undefined where nothing is. What is let through works in every artefact. */
export function databaseName(value: string): string | undefined {
  const right =
    "a name of 1 to 63 bytes without quotes, backslashes, slashes, line breaks and other control characters";
  const bad = value === "" || Buffer.byteLength(value) > 63 || /['"`\\/\p{C}\p{Zl}\p{Zp}]/u.test(value);
  return bad ? right : undefined;
}

/** What is wrong with the name of a table, its database perhaps before it; undefined where nothing is. */
export function tableName(value: string): string | undefined {
  const right = "schema.table or database|schema.table, e.g. public.expenses";
  return /^([^|\p{C}]+\|)?[^|.\p{C}]+\.[^|\p{C}]+$/u.test(value) ? undefined : right;
}
