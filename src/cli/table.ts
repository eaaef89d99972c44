import { checkpointCommand } from './checkpoint.ts';
import { checkpointsCommand } from './checkpoints.ts';
import { checkpointsDiffCommand } from './checkpoints-diff.ts';
import { checkpointsKeepCommand } from './checkpoints-keep.ts';
import { checkpointsPruneCommand } from './checkpoints-prune.ts';
import { checkpointsShowCommand } from './checkpoints-show.ts';
import { checkpointsVerifyCommand } from './checkpoints-verify.ts';
import type { Command } from './command.ts';
import { completionCommand } from './completion.ts';
import { configCheckCommand } from './config-check.ts';
import { configReferenceCommand } from './config-reference.ts';
import { configSchemaCommand } from './config-schema.ts';
import { configShowCommand } from './config-show.ts';
import { doctorCommand } from './doctor.ts';
import { drillCommand } from './drill.ts';
import { hookCommand } from './hook.ts';
import { mockImdsCommand } from './mock-imds.ts';
import { reportsCommand } from './reports.ts';
import { reportsShowCommand } from './reports-show.ts';
import { restoreCommand } from './restore.ts';
import { runCommand } from './run.ts';
import { statusCommand } from './status.ts';
import { versionCommand } from './version.ts';
import { waitCommand } from './wait.ts';

/** Every command, in the order of the help page. */
export const COMMANDS: readonly Command[] = [
  runCommand,
  statusCommand,
  waitCommand,
  hookCommand,
  checkpointCommand,
  checkpointsCommand,
  checkpointsShowCommand,
  checkpointsDiffCommand,
  checkpointsVerifyCommand,
  checkpointsKeepCommand,
  checkpointsPruneCommand,
  restoreCommand,
  reportsCommand,
  reportsShowCommand,
  drillCommand,
  doctorCommand,
  mockImdsCommand,
  configCheckCommand,
  configShowCommand,
  configSchemaCommand,
  configReferenceCommand,
  completionCommand(() => COMMANDS),
  versionCommand,
];
