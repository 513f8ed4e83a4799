/** Programs of the lab that are built from their Go modules: once, into the cache. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { installed, run } from "./command";
import { outside } from "./network";
import { cache, source } from "./places";
import { locked } from "./waiting";

export interface GoSource {
  /** Name of the program. */
  readonly name: string;
  /** Directory of the lab's sources whose go.mod, go.sum and tools.go pin what is built. */
  readonly directory: string;
  /** Import path of its main package. */
  readonly package: string;
  readonly version: string;
  /** Options of `go build`. Default: without debug information. */
  readonly options?: readonly string[];
}

export class GoProgram {
  /** Directory of this build in the cache; the program is `bin/<name>` below. */
  readonly root: string;

  constructor(private readonly source: GoSource) {
    const hash = createHash("sha256");
    for (const file of ["go.mod", "go.sum", "tools.go"]) {
      hash.update(fs.readFileSync(path.join(this.sources, file)));
    }
    this.root = path.join(cache, `${source.directory}-${source.version}-${hash.digest("hex").slice(0, 12)}`);
  }

  get program(): string {
    return path.join(this.root, "bin", this.source.name);
  }

  get isBuilt(): boolean {
    return fs.existsSync(this.program);
  }

  /**
   * Builds it unless that was done (minutes on two cores, needs Go).
   * @param log file for what go says
   */
  async build(log?: string): Promise<void> {
    if (this.isBuilt) return;
    await locked(`${this.root}.lock`, async () => {
      if (!this.isBuilt) await this.compile(log);
    });
  }

  private get sources(): string {
    return source(this.source.directory);
  }

  private async compile(log?: string): Promise<void> {
    if (!(await installed("go"))) {
      throw new Error(`Without Go no ${this.source.name} can be built: install it, see https://go.dev/dl/.`);
    }
    // Caches of its own, thrown away afterwards: the user's would keep 3 GB that nothing here removes again.
    const scratch = `${this.root}-build`;
    const env = {
      ...process.env,
      GOPATH: path.join(scratch, "path"),
      GOMODCACHE: path.join(scratch, "modules"),
      GOCACHE: path.join(scratch, "objects"),
      GOFLAGS: "-mod=readonly -modcacherw",
      GOTOOLCHAIN: "auto",
      GOWORK: "off",
    };
    const partial = `${this.program}.partial`;
    fs.mkdirSync(path.dirname(this.program), { recursive: true });
    const options = this.source.options ?? ["-ldflags", "-s -w"];
    const argv = ["go", "build", ...options, "-o", partial, this.source.package];
    try {
      await run(outside(argv), { cwd: this.sources, env, log, timeout: 1_800_000 });
      fs.renameSync(partial, this.program);
    } finally {
      fs.rmSync(scratch, { recursive: true, force: true });
    }
  }
}
