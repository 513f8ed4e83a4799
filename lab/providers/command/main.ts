/** The lab's stand-in for pulumi-resource-command 1.2.1; see lab/providers/README.md. */
import { serve } from "../protocol/server";
import { remoteCommand } from "./remoteCommand";

serve({ name: "command", version: "1.2.1", types: { "command:remote:Command": remoteCommand } });
