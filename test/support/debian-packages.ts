/** Debian packages that tests need, each with its reason. Installed by `npm test` when it runs as root. */
export const DEBIAN_PACKAGES: readonly string[] = [
  // The programs systemd-notify and systemd-analyze.
  'systemd',
  // Listens on a datagram socket, which Node doesn't have.
  'perl-base',
  // systemd-nspawn, which boots a system with a real systemd.
  'systemd-container',
  // Makes that system from Debian's packages.
  'mmdebstrap',
  // promtool, which judges metrics and alert rules.
  'prometheus',
  // The examples of programs that take part over the control socket.
  'curl',
  'python3',
];
