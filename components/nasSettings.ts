import * as pulumi from "@pulumi/pulumi";
import {
  DIRECTORY,
  DIRECTORY_RIGHT,
  HOST,
  HOST_RIGHT,
  hostKeyProblem,
  publicKeyOf,
  unattendedKeyProblem,
  USER,
  USER_RIGHT,
} from "./settingChecks";
import type { SettingsReader } from "./settingsReader";

/** A NAS that a container's copies go to, by rsync over SSH. */
export interface NasSettings {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Directory of the container's copies, absolute, as the account sees it. */
  readonly directory: string;
  /** Public key the NAS must show, `<type> <base64>`. */
  readonly hostKey: string;
  /** OpenSSH private key without a passphrase. */
  readonly privateKey: pulumi.Output<string>;
  /** Its public half, as in authorized_keys. */
  readonly publicKey: string;
  /** Days a copy is kept; 0 where the job may remove nothing. */
  readonly retentionDays: number;
}

/** Reads a container's NAS; undefined where nasHost is not set. */
export function readNas(reader: SettingsReader, vmid: number): NasSettings | undefined {
  const host = reader.optionalText("nasHost", HOST, HOST_RIGHT);
  const port = reader.integer("nasPort", 1, 65_535);
  const given = {
    nasUser: reader.optionalText("nasUser", USER, USER_RIGHT),
    nasHostKey: reader.optional("nasHostKey", hostKeyProblem),
    nasPrivateKey: reader.optionalSecret("nasPrivateKey", unattendedKeyProblem),
  };
  const directory = reader.own("nasDirectory").optionalText("nasDirectory", DIRECTORY, DIRECTORY_RIGHT);
  const retentionDays = reader.integer("nasRetentionDays", 0, 36_500);
  if (host === undefined) return undefined;
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined)
      reader.problem(key, undefined, "a value: nasHost is set, and nothing can be copied there without it");
  }
  const { nasUser: user = "", nasHostKey: hostKey = "", nasPrivateKey: privateKey = "" } = given;
  return {
    host,
    port,
    user,
    directory: directory ?? `/ct${vmid}`,
    hostKey: hostKey.trim().split(/\s+/, 2).join(" "),
    // ssh takes no key file whose last line is not ended.
    privateKey: pulumi.secret(`${privateKey.trim()}\n`),
    publicKey: privateKey === "" ? "" : publicKeyOf(privateKey),
    retentionDays,
  };
}
