import type * as pulumi from "@pulumi/pulumi";
import { type Container, systemdUnit } from "./container";
import { renderTimerUnit, type TimerUnitArgs } from "./render/units";

export interface TimedServiceArgs extends TimerUnitArgs {
  readonly service: string;
  readonly timer: string;
  /** Text of the service's unit. */
  readonly content: string;
  /** What has to stand in the container before. */
  readonly after: readonly pulumi.Resource[];
}

/** Declares a service that is started on demand, and after it the timer that does so. */
export function declareTimedService(container: Container, args: TimedServiceArgs, parent: pulumi.Resource): void {
  const service = container.declare(systemdUnit({ unit: args.service, content: args.content, wanted: "on-demand" }), {
    parent,
    dependsOn: [...args.after],
  });
  container.declare(systemdUnit({ unit: args.timer, content: renderTimerUnit(args), wanted: "running" }), {
    parent,
    dependsOn: service,
  });
}
