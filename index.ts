import * as pulumi from "@pulumi/pulumi";
import { BackupBucket, DatabaseBackup, learn, MEMORY, readSettings } from "./components";

// A function, because the lab runs the program several times in one process: top-level code would run but once.
export = async () => {
  const settings = readSettings();
  const known = await learn(settings);
  const offHost = settings.bucket && new BackupBucket("off-host", settings.bucket);
  for (const { vmid, nas } of settings.containers) {
    if (offHost || nas) continue;
    void pulumi.log.warn(
      `Neither s3Bucket nor nasHost is set: dumps of container ${vmid} stay there, and are lost with it.`,
    );
  }

  const backups = settings.containers.map((container) => ({
    label: container.label,
    backup: new DatabaseBackup(container.label, { settings: container, knowledge: known(container), offHost }),
  }));
  const byContainer = <T>(pick: (backup: DatabaseBackup) => T) =>
    Object.fromEntries(backups.map(({ label, backup }) => [label, pick(backup)]));

  return {
    containers: byContainer((backup) => backup.facts),
    runbook: backups.map(({ backup }) => backup.runbook).join("\n"),
    // Secret only in order not to be printed: it changes with every artefact, and tells a reader nothing.
    [MEMORY]: pulumi.secret(byContainer((backup) => backup.memory)),
  };
};
