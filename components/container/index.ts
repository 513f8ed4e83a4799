export * from "./artefact";
export type { Connection, JumpHost } from "./connection";
export { Container } from "./container";
export { type Knowledge, probe, type ProbeRequest, type Sandbox } from "./drift";
export { type Memory, rememberLastDeployment } from "./lastDeployment";
