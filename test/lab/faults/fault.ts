/** What a fault is: one entry of data, which the driver (faults.test.ts) injects into a container for real. */
import type { FailureRow } from "../../../docs/failures";
import type { Nights, Target } from "./nights";

export type Act = (nights: Nights) => Promise<unknown>;

/** How a night ended. */
export interface Ended {
  /** Exit status of the service, or what systemd says ended it, e.g. `killed by KILL`. */
  readonly status: string;
  /** What an operator finds in the journal as error or warning, in order. */
  readonly lines: readonly string[];
}

/** What became of the night's own dump: none, or where it is besides the container. */
export type Tonight = FailureRow["tonight"];

export interface Fault {
  /** What happens, in the words of the failure table; unique. */
  readonly name: string;
  /** Done before the night begins. */
  readonly inject?: Act;
  /** Done in the middle: pg_dump is halted once this share of the dump is written, and goes on afterwards. */
  readonly midway?: { readonly share: number; readonly act: Act };
  /** Runs the night where one start of the service is not the point. */
  readonly night?: (nights: Nights) => Promise<Ended>;
  /** Exit status the night must have. */
  readonly status: string;
  /** Whether the night succeeds, and so lets old dumps go. Default: if its status is 0. */
  readonly succeeds?: boolean;
  /** What one of the operator's lines must say; `undefined`: there is no line, all is well. */
  readonly says: RegExp | undefined;
  readonly tonight: Tonight;
  /** Makes good what was injected, as an operator would. Left out where there is nothing to do. */
  readonly heal?: Act;
  /** Whether a partial may be left for the next night to remove: only where nobody was left to do it. */
  readonly leavesPartial?: boolean;
}

/** Faults of one kind, under one heading of the table. */
export interface FaultGroup {
  readonly title: string;
  /** Where dumps are copied to meanwhile. Default: to the bucket only. */
  readonly targets?: readonly Target[];
  readonly faults: readonly Fault[];
}
