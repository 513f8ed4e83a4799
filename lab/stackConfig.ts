/** The file Pulumi.<stack>.yaml of a stack: reading and writing plain settings, comments and order kept. */
import * as fs from "node:fs";
import { isMap, parseDocument, type Document } from "yaml";
import type { Settings } from "./settings";

const project = "pgbackup";

export class StackConfig {
  /** @param heading comment that stands at the top: the engine drops it whenever it touches the file */
  constructor(
    readonly file: string,
    private readonly heading?: string,
  ) {}

  /** Names of the settings that are there, secret ones included. */
  names(): string[] {
    const config = this.document().get("config");
    if (!isMap(config)) return [];
    return config.items.map((item) => String(item.key).replace(`${project}:`, ""));
  }

  /** One setting, `undefined` if it is not there. Secret ones come encrypted. */
  get(name: string): unknown {
    return this.document().getIn(["config", `${project}:${name}`]);
  }

  /** Writes settings that are not secret; `undefined` removes one. */
  write(settings: Settings): void {
    const document = this.document();
    if (!isMap(document.get("config"))) document.set("config", document.createNode({}));
    for (const [name, value] of Object.entries(settings)) {
      const place = ["config", `${project}:${name}`];
      if (value === undefined) document.deleteIn(place);
      else document.setIn(place, document.createNode(value));
    }
    if (this.heading !== undefined) document.commentBefore = this.heading;
    fs.writeFileSync(this.file, document.toString({ lineWidth: 0 }), { mode: 0o600 });
  }

  private document(): Document {
    return parseDocument(fs.existsSync(this.file) ? fs.readFileSync(this.file, "utf8") : "config: {}\n");
  }
}
