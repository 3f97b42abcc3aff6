/** Debian's Chromium. */
export const CHROMIUM_PATH = '/usr/bin/chromium';

/** Without these it asks the network for updates, which a closed one refuses many times over. */
export const CHROMIUM_ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
