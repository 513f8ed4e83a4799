import * as grpc from "@grpc/grpc-js";
import { EngineClient } from "@pulumi/pulumi/proto/engine_grpc_pb";
import { LogRequest, LogSeverity } from "@pulumi/pulumi/proto/engine_pb";

const SEVERITIES = {
  debug: LogSeverity.DEBUG,
  info: LogSeverity.INFO,
  warning: LogSeverity.WARNING,
  error: LogSeverity.ERROR,
};

/** Sends lines to the engine's display, one after the other, so that they stay in order. */
export class EngineLog {
  private readonly client: EngineClient | undefined;
  private last: Promise<void> = Promise.resolve();

  constructor(address: string | undefined) {
    if (address) this.client = new EngineClient(address, grpc.credentials.createInsecure());
  }

  send(severity: keyof typeof SEVERITIES, message: string, urn: string, ephemeral: boolean): void {
    const { client } = this;
    if (!client) return;
    const request = new LogRequest().setSeverity(SEVERITIES[severity]).setMessage(message).setUrn(urn);
    request.setEphemeral(ephemeral);
    // A lost line is no reason to fail a deployment.
    this.last = this.last.then(() => new Promise((resolve) => client.log(request, () => resolve())));
  }

  /** Resolves when everything sent so far has arrived. */
  sent(): Promise<void> {
    return this.last;
  }
}
