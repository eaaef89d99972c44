// The build puts text in their place; run from source they don't exist.
declare const EVICTD_VERSION: string | undefined;
declare const EVICTD_COMMIT: string | undefined;

/** What the build baked in; `development` for a run from source. */
export function buildInfo(): { readonly version: string; readonly commit: string } {
  return {
    version: typeof EVICTD_VERSION === 'undefined' ? 'development' : EVICTD_VERSION,
    commit: typeof EVICTD_COMMIT === 'undefined' ? 'development' : EVICTD_COMMIT,
  };
}
