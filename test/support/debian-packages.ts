/** Debian packages that tests need, each with its reason. Installed by `npm test` when it runs as root. */
export const DEBIAN_PACKAGES: readonly string[] = [];
