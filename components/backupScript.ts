import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { type Container, file, packages, tree } from "./container";
import { renderLauncher } from "./render/launcher";

export interface BackupScriptArgs {
  readonly container: Container;
  /** Prefix of the commands, e.g. trade-show-db. */
  readonly name: string;
  readonly commandDirectory: string;
  /** Path of backup.env. */
  readonly settings: string;
  /** Whether copies go to a NAS, and whether they are encrypted: each needs programs of its own. */
  readonly nas: boolean;
  readonly encryption: boolean;
  /** Further commands that must be there, but are the user's to install. */
  readonly programs: readonly string[];
}

/** What an operator can run, and the file in scripts/ that does it. */
const COMMANDS = ["backup", "restore", "verify", "drill"] as const;

/** Commands the scripts need besides PostgreSQL's and those of every Debian, with the packages that bring them. */
const NEEDED = { curl: "curl", jq: "jq", openssl: "openssl" };
const NEEDED_FOR_NAS = { rsync: "rsync", ssh: "openssh-client" };
const NEEDED_FOR_ENCRYPTION = { age: "age" };

const SCRIPTS = join(__dirname, "..", "scripts");

/** The commands: backup, restore, verify and drill. They are short launchers of the programs in scripts/. */
export class BackupScript extends pulumi.ComponentResource {
  /** Path of each command in the container. */
  readonly commands: Readonly<Record<(typeof COMMANDS)[number], string>>;
  /** Directory of the programs in the container. */
  readonly library: string;
  readonly artefacts: pulumi.Resource[];

  constructor(name: string, args: BackupScriptArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupScript", name, {}, opts);
    const { container, commandDirectory, settings } = args;
    const library = `/usr/local/lib/${args.name}`;
    this.library = library;
    const command = (verb: string) => `${commandDirectory}/${args.name}-${verb}.sh`;

    this.commands = {
      backup: command("backup"),
      restore: command("restore"),
      verify: command("verify"),
      drill: command("drill"),
    };
    this.artefacts = [
      packages({
        ...NEEDED,
        ...(args.nas ? NEEDED_FOR_NAS : {}),
        ...(args.encryption ? NEEDED_FOR_ENCRYPTION : {}),
        ...Object.fromEntries(args.programs.map((program) => [program, ""])),
      }),
      tree(library, readScripts()),
      ...COMMANDS.map((verb) =>
        file({ path: command(verb), mode: "0755", content: renderLauncher(settings, `${library}/${verb}.sh`) }),
      ),
    ].map((artefact) => container.declare(artefact, { parent: this }));
    this.registerOutputs();
  }
}

/** The texts of all scripts, by path relative to scripts/. */
function readScripts(): Record<string, string> {
  const paths = readdirSync(SCRIPTS, { recursive: true, encoding: "utf8" })
    .filter((path) => /\.(sh|awk|pl)$/.test(path))
    .sort();
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(SCRIPTS, path), "utf8")]));
}
