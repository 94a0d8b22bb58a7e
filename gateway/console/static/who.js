// Who is signed in, and what they may ask for.

export const me = { user: "", name: "", role: "", can: [] };
export const may = (ask) => me.can.includes(ask);
