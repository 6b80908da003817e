/*
 * Who may do what: the decision on every request below /v2/, which nginx asks for (see nginx.conf).
 *
 * A request is read by a strict grammar of the registry's API, and only what was read is passed on. So nginx and the registry
 * cannot disagree on which repository is meant. Whatever the grammar does not know, and whatever goes wrong here, is refused.
 *
 * The functions above `request()` take values and return values. It is the only one that knows nginx.
 * The language is what njs 0.7.9 understands: https://nginx.org/en/docs/njs/compatibility.html
 */

// ---- The grammar: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints

const PART = '[a-z0-9]+(?:(?:\\.|__|_|-+)[a-z0-9]+)*';
const NAME = new RegExp('^' + PART + '(?:/' + PART + ')*$');
const LONGEST_NAME = 255;
const DIGEST = '(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})';
const WHOLE_DIGEST = new RegExp('^' + DIGEST + '$');
const TAG = '[A-Za-z0-9_][A-Za-z0-9._-]{0,127}';
const UPLOAD = '[A-Za-z0-9][A-Za-z0-9_.=-]{0,127}';

// One parameter: a plain key, and a value that no reader can take for two. Go reads `;` in ways that changed with its version.
const PARAMETER = /^([A-Za-z0-9_.~-]+)=((?:[A-Za-z0-9_.~:\/@!*,=+-]|%[0-9A-Fa-f]{2})*)$/;

// Each request ends in one of these ways, which differ in their last parts, so that at most one of them fits.
// `rights` names the right that a method takes, `parameters` what is passed on; any other parameter is left out.
const ROUTES = [
    {
        path: new RegExp('^/v2/$'),
        rights: {GET: 'login', HEAD: 'login'},
        parameters: [],
    },
    {
        path: new RegExp('^/v2/_catalog$'),
        rights: {GET: 'catalog', HEAD: 'catalog'},
        parameters: ['n', 'last'],
    },
    {
        path: new RegExp('^/v2/(.+)/tags/list$'),
        rights: {GET: 'pull', HEAD: 'pull'},
        parameters: ['n', 'last'],
    },
    {
        path: new RegExp('^/v2/(.+)/manifests/(?:' + TAG + '|' + DIGEST + ')$'),
        rights: {GET: 'pull', HEAD: 'pull', PUT: 'push', DELETE: 'admin'},
        parameters: [],
    },
    {
        path: new RegExp('^/v2/(.+)/blobs/' + DIGEST + '$'),
        rights: {GET: 'pull', HEAD: 'pull', DELETE: 'admin'},
        parameters: [],
    },
    {
        path: new RegExp('^/v2/(.+)/blobs/uploads/$'),
        rights: {POST: 'push'},
        parameters: ['mount', 'from', 'digest', 'digest-algorithm'],
        upload: true,
    },
    {
        path: new RegExp('^/v2/(.+)/blobs/uploads/' + UPLOAD + '$'),
        rights: {GET: 'push', HEAD: 'push', PATCH: 'push', PUT: 'push', DELETE: 'push'},
        parameters: ['_state', 'digest'],
        upload: true,
    },
    {
        path: new RegExp('^/v2/(.+)/referrers/' + DIGEST + '$'),
        rights: {GET: 'pull', HEAD: 'pull'},
        parameters: ['artifactType', 'n', 'last'],
    },
];

function isName(text) {
    return text.length <= LONGEST_NAME && NAME.test(text);
}

// The route, the repository and the path of a raw request URI, or null where the API has no such path.
function readPath(uri) {
    // Some clients write a digest's colon so. Nothing else may be encoded: no pattern above knows `%`.
    const path = uri.split('?')[0].replace(/%3A/gi, ':');
    for (let i = 0; i < ROUTES.length; i++) {
        const found = ROUTES[i].path.exec(path);
        if (found) {
            const repository = found[1];
            return repository === undefined || isName(repository) ? {route: ROUTES[i], repository: repository, path: path} : null;
        }
    }
    return null;
}

// The parameters that the route knows, by name, in the form in which they came; null where the query is malformed or ambiguous.
function readParameters(uri, known) {
    const parameters = {};
    const mark = uri.indexOf('?');
    const parts = mark < 0 ? [] : uri.slice(mark + 1).split('&');
    for (let i = 0; i < parts.length; i++) {
        if (parts[i] === '') {
            continue;
        }
        const found = PARAMETER.exec(parts[i]);
        if (!found) {
            return null;
        }
        if (known.indexOf(found[1]) >= 0) {
            // Of two, the registry takes the first: what was judged must be what it takes.
            if (has(parameters, found[1])) {
                return null;
            }
            parameters[found[1]] = found[2];
        }
    }
    return parameters;
}

function writeQuery(parameters) {
    const names = Object.keys(parameters);
    return names.length ? '?' + names.map((name) => name + '=' + parameters[name]).join('&') : '';
}

// Own properties only: a user may be called `constructor`.
function has(object, key) {
    return Object.prototype.hasOwnProperty.call(object, key);
}

// ---- The rules: access.json

const RANK = {pull: 1, push: 2, admin: 3};

// `*` stands for anything within one part of a name, `**` for one or more parts, and alone for every name.
function matches(pattern, repository) {
    const parts = pattern.split('/').map((part) => part === '**' ? '.+' : part.replace(/\./g, '\\.').replace(/\*+/g, '[^/]*'));
    return new RegExp('^' + parts.join('/') + '$').test(repository);
}

// The arrays of a preloaded object have elements and a length, but no methods.
function anyOf(array, test) {
    for (let i = 0; i < array.length; i++) {
        if (test(array[i])) {
            return true;
        }
    }
    return false;
}

function listed(repositories, repository) {
    return anyOf(repositories, (pattern) => matches(pattern, repository));
}

function anonymousMay(rules, right, repository) {
    return right === 'pull' && !!rules && !!rules.anonymous && listed(rules.anonymous.repositories, repository);
}

// Whether a user has a right; `rules` is null where there are none and every user may do everything.
function userMay(rules, user, right, repository) {
    if (rules === null) {
        return true;
    }
    if (!has(rules.users, user)) {
        return false;
    }
    const own = rules.users[user];
    if (right === 'login') {
        return true;
    }
    if (right === 'catalog') {
        // The catalog names all repositories.
        return anyOf(own.repositories, (pattern) => pattern === '**');
    }
    // Logging in takes nothing away: what nobody may pull, everybody may.
    return (RANK[own.access] >= RANK[right] && listed(own.repositories, repository)) || anonymousMay(rules, right, repository);
}

// ---- Who asks

// The one common name of a certificate's subject in RFC 2253's form; empty where it has none, several, or one that no user can have.
function commonName(subject) {
    // A comma or a plus that belongs to a value stands behind a backslash, as does a backslash.
    const attributes = subject.match(/(?:\\.|[^\\,+])+/g) || [];
    const names = attributes.filter((attribute) => /^\s*CN\s*=/.test(attribute));
    const found = names.length === 1 ? /^CN=([A-Za-z0-9][A-Za-z0-9._@-]{0,63})$/.exec(names[0]) : null;
    return found ? found[1] : '';
}

/*
 * Whose request it is: `user`, or `anonymous`, or `refusal` says why nobody's. With `password`, that holds only after nginx
 * has checked the password.
 */
function identify(asked) {
    const certified = asked.certificate !== null;
    if ((asked.mode === 'required' || asked.mode === 'both') && !certified) {
        return {refusal: 'a client certificate is required'};
    }
    if (asked.mode === 'required') {
        return {user: asked.certificate};
    }
    if (asked.mode === 'both') {
        return asked.passwordUser !== '' && asked.certificate !== asked.passwordUser
            ? {refusal: 'the client certificate belongs to another user', password: true}
            : {user: asked.certificate, password: true};
    }
    if (asked.authorization) {
        return {user: asked.passwordUser, password: true};
    }
    return certified && asked.mode === 'optional' ? {user: asked.certificate} : {anonymous: true};
}

// ---- The decision

// In words of its own: Docker drops the usual sentence, takes what is left for a passing failure, and tries a push for another minute.
const NOT_ALLOWED = 'this user may not do that in this repository';

function refuse(status, code, message) {
    return {status: status, error: JSON.stringify({errors: [{code: code, message: message}]}) + '\n', uri: ''};
}

// What nginx does with a request, provided that the password is right where `identify()` asks for one.
function decide(asked) {
    const who = identify(asked);
    if (who.refusal) {
        return refuse(403, 'DENIED', who.refusal);
    }
    const read = readPath(asked.uri);
    if (!read) {
        return refuse(404, 'UNSUPPORTED', 'the registry API has no such path');
    }
    if (!has(read.route.rights, asked.method)) {
        return refuse(405, 'UNSUPPORTED', 'the registry API has no such method for this path');
    }
    const parameters = readParameters(asked.uri, read.route.parameters);
    if (!parameters) {
        return refuse(400, 'UNSUPPORTED', 'the query is malformed or names a parameter twice');
    }
    const right = read.route.rights[asked.method];
    const may = (what, repository) =>
        who.anonymous ? anonymousMay(asked.rules, what, repository) : userMay(asked.rules, who.user, what, repository);
    if (!may(right, read.repository)) {
        return refuse(403, 'DENIED', NOT_ALLOWED);
    }
    if (has(parameters, 'mount') || has(parameters, 'from')) {
        // To mount a blob is to read it from another repository. Without the two, the registry starts an ordinary upload.
        const from = decoded(parameters.from);
        const digest = decoded(parameters.mount);
        delete parameters.from;
        delete parameters.mount;
        if (isName(from) && WHOLE_DIGEST.test(digest) && may('pull', from)) {
            parameters.mount = digest;
            parameters.from = from;
        }
    }
    return {status: 200, error: '', uri: read.path + writeQuery(parameters), upload: !!read.route.upload};
}

function decoded(value) {
    try {
        return value === undefined ? '' : decodeURIComponent(value);
    } catch (error) {
        return '';
    }
}

// ---- What nginx asks for

// What skopeo and podman send where they have no credentials: an empty name with an empty password.
const NO_CREDENTIALS = /^Basic +Og==$/i;

// The request as the functions above take it.
function request(r) {
    const variables = r.variables;
    const authorization = r.headersIn.Authorization || '';
    return {
        method: r.method,
        // As the client sent it: nginx's own reading is not the registry's.
        uri: variables.request_uri,
        mode: variables.client_certificates,
        authorization: authorization !== '' && !NO_CREDENTIALS.test(authorization),
        passwordUser: variables.remote_user || '',
        certificate: variables.ssl_client_verify === 'SUCCESS' ? commonName(variables.ssl_client_s_dn || '') : null,
        // nginx does not start where the file is missing.
        rules: variables.access_rules_enabled === 'off' ? null : access_rules,
    };
}

// For auth_basic: what the password prompt says, or `off` where none is needed. Empty, as after an error here, means needed.
function realm(r) {
    const asked = request(r);
    const who = identify(asked);
    const needed = who.password || (who.anonymous && decide(asked).status !== 200);
    return needed ? r.variables.password_realm : 'off';
}

function status(r) {
    return String(decide(request(r)).status);
}

function error(r) {
    return decide(request(r)).error;
}

function uri(r) {
    return decide(request(r)).uri;
}

// For the log.
function user(r) {
    return identify(request(r)).user || '';
}

// A form in the body of an upload could name another repository to mount from: the registry must not take it for one.
function contentType(r) {
    return decide(request(r)).upload ? 'application/octet-stream' : r.variables.content_type || '';
}

// Clients send several of them, of which nginx before 1.23 would pass on the first.
function accept(r) {
    const values = r.rawHeadersIn.filter((header) => header[0].toLowerCase() === 'accept').map((header) => header[1]);
    return values.join(', ');
}

export default {realm, status, error, uri, user, contentType, accept};
