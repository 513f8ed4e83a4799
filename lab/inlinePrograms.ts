/**
 * Programs run inline, by this process: one language runtime for many operations of the engine, which is where the SDK
 * is less careful than with a process for each.
 */
import * as settings from "@pulumi/pulumi/runtime/settings";

/**
 * Lets no operation share a connection with an earlier one. The SDK never closes an inline program's clients, and
 * gRPC keeps their connections by address: when an engine gets a port that one before it had, and whose client has
 * called once more after its end, the new program's first call fails at once ("14 UNAVAILABLE: No connection
 * established"). The SDK takes an error of gRPC for the end of a program, without resources, and the engine then deletes
 * what is there.
 */
export function separateConnections(): void {
  const { grpcClientOptions } = settings as unknown as { grpcClientOptions: Record<string, unknown> };
  grpcClientOptions["grpc.use_local_subchannel_pool"] = 1;
}
