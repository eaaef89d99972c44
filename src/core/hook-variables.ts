/** What a hook finds in its environment besides what it inherits. evictd may itself be started from a hook. */
export const HOOK_VARIABLES = [
  'EVICTD_ATTEMPT',
  'EVICTD_CHECKPOINT',
  'EVICTD_DEADLINE',
  'EVICTD_DRILL',
  'EVICTD_EVENT_ID',
  'EVICTD_EVENT_TYPE',
  'EVICTD_HOOK',
  'EVICTD_PEERS',
  'EVICTD_SCOPE',
  'EVICTD_SECONDS_LEFT',
  'EVICTD_STAGE',
  'EVICTD_TIMEOUT_SECONDS',
] as const;
export type HookVariable = (typeof HOOK_VARIABLES)[number];
