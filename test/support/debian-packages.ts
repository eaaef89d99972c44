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
  // Make packages.
  'elfutils',
  'rpm',
  // Finds what is wrong with a Debian package.
  'lintian',
  // Run the packaged Node of arm64 on another processor, with the libraries it is linked with.
  'qemu-user-static',
  'libc6-arm64-cross',
  'libstdc++6-arm64-cross',
  'libatomic1-arm64-cross',
  // promtool, which judges metrics and alert rules.
  'prometheus',
  // Steps the wall clock of one process; a network that can be taken away.
  'libfaketime',
  'iproute2',
  // The examples of programs that take part over the control socket.
  'curl',
  'python3',
  // Validates the template of the golden image.
  'packer',
  // The shells that completion is made for, beside bash.
  'zsh',
  'fish',
  // Judges the scripts for common programs; one of these programs.
  'shellcheck',
  'nginx-light',
  // Show and judge the man page.
  'man-db',
  'mandoc',
  'groff-base',
  // Shows the pages of reports and drills as their readers see them.
  'chromium',
];
