// withRollback readies an agent for the steps in its block: the program, its configuration, and credentials by their ids.
// Each key may also be a variable of the controller, ROLLBACK_URL for url: set once, for every pipeline.
void call(Map args = [:], Closure body) {
    rollbackCommand.check('withRollback', args, [])
    if (args.containsKey('node') || !env.getProperty('WORKSPACE')) {
        node(rollbackCommand.text(args.get('node')) ?: rollbackCommand.text(env.getProperty('ROLLBACK_NODE'))) {
            ready(args, body)
        }
    } else {
        ready(args, body)
    }
}

// ready is what call does, on an agent.
void ready(Map args, Closure body) {
    List bindings = []
    List variables = []
    List bound = rollbackCommand.words(env.getProperty('ROLLBACK_BOUND')) // settings that come from a credential, and from nowhere else

    String id = credential(args, 'github', 'rollback-github')
    String name = rollbackCommand.text(args.get('githubTokenEnv')) ?: 'GITHUB_TOKEN'
    if (id != '') {
        bindings.add(string(credentialsId: id, variable: name))
        variables.add('ROLLBACK_GITHUB_TOKEN_ENV=' + name)
    }
    id = credential(args, 'githubLogin', 'rollback-github-login')
    if (id != '') {
        bindings.add(usernamePassword(credentialsId: id, usernameVariable: 'GITHUB_LOGIN', passwordVariable: name))
        variables.add('ROLLBACK_GITHUB_TOKEN_ENV=' + name)
    }
    id = credential(args, 'githubKey', 'rollback-github-key')
    if (id != '') {
        bindings.add(file(credentialsId: id, variable: 'ROLLBACK_GITHUB_KEY_FILE'))
        bound.add('githubKeyFile')
    }
    id = credential(args, 'aws', 'rollback-aws')
    if (id != '') {
        bindings.add(usernamePassword(credentialsId: id, usernameVariable: 'AWS_ACCESS_KEY_ID', passwordVariable: 'AWS_SECRET_ACCESS_KEY'))
    }
    id = credential(args, 'kubeconfig', 'rollback-kubeconfig')
    if (id != '') {
        bindings.add(file(credentialsId: id, variable: 'KUBECONFIG'))
    }
    id = credential(args, 'jenkins', 'rollback-jenkins')
    name = rollbackCommand.text(args.get('jenkinsTokenEnv')) ?: 'JENKINS_TOKEN'
    if (id != '') {
        bindings.add(usernamePassword(credentialsId: id, usernameVariable: 'ROLLBACK_JENKINS_USER', passwordVariable: name))
        variables.add('ROLLBACK_JENKINS_TOKEN_ENV=' + name)
        bound.add('jenkinsUser')
    }
    id = credential(args, 'registry', 'rollback-registry')
    if (id != '') {
        String user = rollbackCommand.text(args.get('registryUsernameEnv')) ?: 'REGISTRY_USERNAME'
        name = rollbackCommand.text(args.get('registryPasswordEnv')) ?: 'REGISTRY_PASSWORD'
        bindings.add(usernamePassword(credentialsId: id, usernameVariable: user, passwordVariable: name))
        variables.add('ROLLBACK_REGISTRY_USERNAME_ENV=' + user)
        variables.add('ROLLBACK_REGISTRY_PASSWORD_ENV=' + name)
    }

    variables = variables + ['ROLLBACK_BOUND=' + bound.join(',')] + rollbackCommand.variables(rollbackCommand.only(args, rollbackCommand.settings()), bound)
    if (rollbackCommand.text(args.get('configText')) != '') {
        String path = env.getProperty('WORKSPACE') + '/' + rollbackCommand.folder(args) + '.yaml' // good in a dir step as well
        writeFile(file: path, text: rollbackCommand.text(args.get('configText')), encoding: 'UTF-8')
        variables.add('ROLLBACK_CONFIG=' + path)
    }
    variables.addAll(program(args))
    if (bindings.isEmpty()) {
        withEnv(variables) {
            body()
        }
    } else {
        withCredentials(bindings) {
            withEnv(variables) {
                body()
            }
        }
    }
}

// credential is the id of a credential: true stands for its default name, and what an enclosing withRollback has bound is
// not bound again.
String credential(Map args, String key, String byName) {
    String id = rollbackCommand.text(args.get(key))
    if (!args.containsKey(key) && env.getProperty('ROLLBACK_READY') != 'true') {
        id = rollbackCommand.text(env.getProperty(rollbackCommand.variable(key)))
    }
    id = id.trim()
    return id == 'true' ? byName : id == 'false' ? '' : id
}

// program finds the binary and returns the variables that lead to it: the one that is named, the one on PATH, or the pinned
// one, downloaded once for each agent.
List program(Map args) {
    List keys = ['binary', 'url', 'version', 'sha256']
    boolean ready = env.getProperty('ROLLBACK_READY') == 'true'
    List wanted = []
    for (Object key : keys) {
        String value = rollbackCommand.text(args.get(key))
        if (value != '') {
            ready = false
        } else if (!args.containsKey(key)) {
            value = rollbackCommand.text(env.getProperty(rollbackCommand.variable(key.toString())))
        }
        wanted.add(rollbackCommand.variable(key.toString()) + '=' + value.trim())
    }
    if (ready) {
        return []
    }
    // The version is for the log once in a build, or twice where another agent has another. Whoever comes first says it.
    String said = rollbackCommand.text(env.getProperty('ROLLBACK_SAID'))
    if (said == '') {
        env.ROLLBACK_SAID = 'asked'
    }
    List found = []
    withEnv(wanted + ['ROLLBACK_SAID=' + said]) {
        found = sh(label: 'rollback --version', returnStdout: true, encoding: 'UTF-8', script: '''#!/bin/sh
# Finds the program and prints its path and its version: the one that is named, the one on PATH, or a download that is checked, cached by
# version and checksum, and moved into place whole, so that two builds may do it at once.
set -u
fail() { echo "withRollback: $*" >&2; exit 1; }
found() {
  said=$("$1" --version) || fail "$1 does not run on this agent ($(uname -sm))"
  case ${ROLLBACK_SAID:-} in asked | "$said") ;; *) printf '%s\\n' "$said" >&2 ;; esac
  printf '%s\\n%s\\n' "$1" "$said"; exit 0
}

if [ -n "${ROLLBACK_BINARY:-}" ]; then
  case $ROLLBACK_BINARY in
    /*) path=$ROLLBACK_BINARY ;;
    */*) path=$PWD/$ROLLBACK_BINARY ;;
    *) path=$(command -v "$ROLLBACK_BINARY") || path=$ROLLBACK_BINARY ;;
  esac
  [ -x "$path" ] || fail "binary: there is no program $path on this agent"
  found "$path"
fi
if [ -z "${ROLLBACK_URL:-}" ]; then
  path=$(command -v rollback) || fail "there is no rollback on the PATH of this agent; install it, or say binary: '/path', or url:, version: and sha256:"
  found "$path"
fi

[ -n "${ROLLBACK_SHA256:-}" ] || fail "url: needs sha256:, the checksum or the lines of SHA256SUMS"
case $(uname -s) in Linux) os=linux ;; Darwin) os=darwin ;; *) fail "there is no rollback for $(uname -s)" ;; esac
case $(uname -m) in x86_64 | amd64) arch=amd64 ;; aarch64 | arm64) arch=arm64 ;; *) fail "there is no rollback for $(uname -m)" ;; esac
version=${ROLLBACK_VERSION:-}
case $version in *[!A-Za-z0-9._+-]*) fail "version: $version is none: letters, digits, dots, dashes" ;; esac
url=$(printf '%s' "$ROLLBACK_URL" | sed "s|{version}|$version|g; s|{os}|$os|g; s|{arch}|$arch|g")
case $ROLLBACK_URL in *'{version}'*) [ -n "$version" ] || fail "url: has {version}, and there is no version:" ;; esac
name=${url##*/}
case $ROLLBACK_SHA256 in
  *[!0-9a-fA-F]*) want=$(printf '%s\\n' "$ROLLBACK_SHA256" | awk -v a="$name" -v b="rollback_${os}_${arch}" '
    { for (i = 1; i < NF; i++) if (length($i) == 64) { n = $(i + 1); sub(/^[*]/, "", n); sub(/.*[\\/]/, "", n); if (n == a) hit = $i; if (n == b) other = $i } }
    END { print (hit != "" ? hit : other) }') ;;
  *) want=$ROLLBACK_SHA256 ;;
esac
want=$(printf '%s' "$want" | tr 'A-F' 'a-f')
case $want in *[!0-9a-f]*) want= ;; esac
[ ${#want} -eq 64 ] || fail "sha256: has no checksum of $name"
checksum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1; }

keep=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
[ -n "$keep" ] && mkdir -p "$keep/rollback" 2>/dev/null && [ -w "$keep/rollback" ] || keep=${WORKSPACE_TMP:-${TMPDIR:-/tmp}}
dir=$keep/rollback/${version:-unnamed}-$want
path=$dir/rollback
if [ -f "$path" ] && [ "$(checksum "$path")" = "$want" ]; then found "$path"; fi
mkdir -p "$dir" || fail "there is no room for the program in $dir"
part=$(mktemp "$dir/part.XXXXXX") || fail "there is no room for the program in $dir"
trap 'rm -f "$part"; rmdir "$dir" 2>/dev/null' EXIT
trap 'exit 143' HUP INT TERM
case $url in
  file://*) cp "${url#file://}" "$part" ;;
  *) if command -v curl >/dev/null 2>&1; then curl -fsSL --connect-timeout 20 --max-time 600 --retry 2 -o "$part" "$url"
     elif command -v wget >/dev/null 2>&1; then wget -q -T 60 -O "$part" "$url"
     else fail "neither curl nor wget is on this agent, and $url is to be downloaded"; fi ;;
esac || fail "$url could not be downloaded"
have=$(checksum "$part")
[ "$have" = "$want" ] || fail "the checksum of $url is $have, not $want; nothing of it was kept"
chmod 755 "$part" && mv -f "$part" "$path" || fail "the program could not be moved to $path"
found "$path"
''').readLines()
    }
    String path = found.get(0)
    if (said == '') {
        env.ROLLBACK_SAID = rollbackCommand.text(found.get(1))
    }
    return ['ROLLBACK_READY=true', 'ROLLBACK_BINARY=' + path, 'PATH+ROLLBACK=' + path.substring(0, path.lastIndexOf('/'))]
}
