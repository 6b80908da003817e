/*
 * Whether a password is right. bcrypt runs elsewhere (passwords.conf); who may ask it, and when, is decided here.
 *
 * Guesses wait, and nobody else does: each address has a place of its own to have a password checked, and shares a few more with
 * all others. A wrong password keeps its place until the next whole second, a right one gives it back at once. So ahead of a right
 * password there are never more checks than addresses that guess, and those few.
 *
 * A refusal tells nothing by the work that it takes: whether there is such a user or not, the password has been checked once at each
 * cost that hashes have here.
 *
 * The language is what njs 0.7.9 understands: https://nginx.org/en/docs/njs/compatibility.html
 */

import fs from 'fs';

const SECOND = 1000;
const PATIENCE = 30 * SECOND;
const SHORTEST_PAUSE = 100;
const LONGEST_PAUSE = 2 * SECOND;
const RIGHT = 204;
const WRONG = 401;
const NO_PLACE = 429;

function pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/*
 * Ask until there is a place. RIGHT is a yes and WRONG a no; 403, which auth_request passes on as well, means that nothing was
 * found out. Who was right a moment ago needs no place.
 */
async function ask(r) {
    const lanes = r.headersIn['Drydock-Known'] === 'EXPIRED' ? ['known'] : ['own', 'shared'];
    const end = Date.now() + PATIENCE;
    let milliseconds = SHORTEST_PAUSE;
    for (;;) {
        for (let i = 0; i < lanes.length; i++) {
            const status = (await r.subrequest('/place', {args: 'lane=' + lanes[i]})).status;
            if (status !== NO_PLACE) {
                r.return(status === RIGHT || status === WRONG ? status : 502);
                return;
            }
        }
        if (Date.now() + milliseconds > end) {
            r.return(403);
            return;
        }
        await pause(milliseconds);
        milliseconds = Math.min(milliseconds * 1.5, LONGEST_PAUSE);
    }
}

// Have the password checked, while this request has a place.
async function check(r) {
    const began = Date.now();
    const header = r.headersIn.Authorization;
    const status = await checked(r, '/check', header);
    if (status !== WRONG) {
        r.return(status);
        return;
    }
    const decoys = decoysOf(header, fs.readFileSync(r.variables.htpasswd, 'utf8'));
    for (let i = 0; i < decoys.length; i++) {
        await checked(r, '/decoy', decoys[i]);
    }
    await pause(SECOND - (Date.now() - began) % SECOND);
    r.return(WRONG);
}

async function checked(r, location, header) {
    r.variables.checked_header = header;
    return (await r.subrequest(location, {args: 'lane=' + r.headersIn['Drydock-Lane']})).status;
}

// Scheme and cost of a hash: what decides how long a check takes. `$2a$`, `$2b$` and `$2y$` are one.
function costOf(hash) {
    const found = /^\$[^$]+\$(?:\d\d\$|rounds=\d+\$)?/.exec(hash);
    return found ? found[0].replace(/^\$2[abxy]/, '$2') : '';
}

/*
 * What else is checked of a wrong password, with no heed of the answer: the same password for a user of each other cost. To an unknown
 * user's own check, which is over at once, corresponds a check for a user that nobody can be.
 */
function decoysOf(header, htpasswd) {
    const sent = Buffer.from(header.slice(header.lastIndexOf(' ') + 1), 'base64').toString();
    const colon = sent.indexOf(':');
    const users = {};
    let own = null;
    htpasswd.split('\n').forEach((line) => {
        const end = line.indexOf(':');
        if (end <= 0 || line[0] === '#') {
            return;
        }
        const user = line.slice(0, end);
        const cost = costOf(line.slice(end + 1));
        if (own === null && user === sent.slice(0, colon)) {
            own = cost;
        }
        users[cost] = users[cost] === undefined ? user : users[cost];
    });
    const others = Object.keys(users).filter((cost) => cost !== own).map((cost) => users[cost]);
    return (own === null ? others : others.concat('/')).map((user) => {
        return 'Basic ' + Buffer.from(user + sent.slice(colon)).toString('base64');
    });
}

export default {ask, check};
