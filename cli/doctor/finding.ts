/** How a check ended. `unchecked`: nobody can say, and `says` has why. */
export type Status = 'ok' | 'warning' | 'failed' | 'unchecked';

/** What a check found, and what to do about it. Holds no secret. */
export interface Finding {
  status: Status;
  says: string;
}

export const ok = (says: string): Finding => ({ status: 'ok', says });
export const warning = (says: string): Finding => ({ status: 'warning', says });
export const failed = (says: string): Finding => ({ status: 'failed', says });
export const unchecked = (says: string): Finding => ({ status: 'unchecked', says });
