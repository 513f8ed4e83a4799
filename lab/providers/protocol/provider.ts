import type { Props, Value } from "./values";

/** What an operation may want to know or say besides its properties. */
export interface Context {
  readonly urn: string;
  /** Last part of the URN. */
  readonly name: string;
  /** Aborted when the engine cancels the deployment. */
  readonly signal: AbortSignal;
  /** Shows a line beside the resource; an ephemeral one only while the operation lasts. */
  log(severity: "debug" | "info" | "warning" | "error", message: string, ephemeral?: boolean): void;
}

export interface Failure {
  readonly property: string;
  readonly reason: string;
}

/** One resource type: its properties, and what creates, reads, updates and deletes it. */
export interface ResourceType {
  readonly inputs: readonly string[];
  readonly required: readonly string[];
  /** Inputs that only a new resource can change. */
  readonly replaceOn: readonly string[];
  /** Outputs beyond the inputs, unknown until the resource has been created. */
  readonly computed: readonly string[];
  /** Whether an update gives the computed outputs new values (true) or leaves them as they are. */
  readonly volatile?: boolean;
  /** Fills defaults in. `previous` are the inputs of the last deployment, {} at the first. */
  defaults?(inputs: Props, previous: Props, name: string): Props;
  /** Whether two values of one input mean the same although they read differently. */
  equivalent?(property: string, before: Value, after: Value): boolean;
  create(inputs: Props, context: Context): Promise<{ id: string; state: Props }>;
  /** The live resource, undefined when it is gone. Left out: the state is believed. */
  read?(id: string, state: Props, inputs: Props): Promise<{ state: Props; inputs: Props } | undefined>;
  update(id: string, state: Props, inputs: Props, context: Context): Promise<Props>;
  delete(id: string, state: Props, context: Context): Promise<void>;
}

/** A stand-in for an official provider plugin. */
export interface StandIn {
  readonly name: string;
  /** The version of the official plugin whose place it takes. */
  readonly version: string;
  readonly types: { readonly [token: string]: ResourceType };
  configure?(settings: Props): void;
}
