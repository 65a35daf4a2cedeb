import static Suite.test
import static Pipelines.*

/** What reaches the program: credentials, configuration, keys and parameters; seen by a program that writes its environment down. */
class AgentTest {
    static final String AWKWARD = 'it\'s "quoted" $(touch $DUMP.never) `id` \\ $HOME\nand a second line; end'
    static final Map CREDENTIALS = [
        'rollback-github': 'ghp_0123456789abcdef', 'rollback-github-login': ['app', 'ghs_abcdef0123456789'], 'rollback-github-key': [file: '-----BEGIN RSA PRIVATE KEY----- key'],
        'rollback-aws': ['AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG'], 'rollback-kubeconfig': [file: 'apiVersion: v1 # kubeconfig'],
        'rollback-jenkins': ['rollback', '11a2b3c4d5e6f7'], 'rollback-registry': ['robot', 'pa$$ w0rd'], 'team-github': 'ghp_of_the_team_0001',
    ]

    private File dump = new File(home, 'dump')

    /** The environment in which the last command ran. */
    private Map<String, String> seen() {
        dump.text.split('\0').findAll { it.contains('=') }.collectEntries { def at = it.indexOf('='); [(it.substring(0, at)): it.substring(at + 1)] }
    }

    private Map stubbed(Map more = [:]) {
        def dir = new File(home, 'stub')
        dir.mkdirs()
        def stub = new File(dir, 'rollback')
        stub.text = '''#!/bin/sh
if [ "$1" = --version ]; then echo "rollback version stub"; exit 0; fi
env -0 > "$DUMP"
if [ -n "$KUBECONFIG" ]; then cp "$KUBECONFIG" "$DUMP.kubeconfig"; fi
if [ -n "$ROLLBACK_CONFIG" ]; then cp "$ROLLBACK_CONFIG" "$DUMP.config"; fi
printf 'message=done %s\\n' "$1" > "$ROLLBACK_RESULT_FILE"
exit "${STUB_EXIT:-0}"
'''
        stub.executable = true
        Pipelines.agent([PATH: "${dir.path}:/usr/bin:/bin".toString(), DUMP: dump.path] + more)
    }

    private Build go(Map o = [:], String script) {
        dump.delete()
        build([job: job(), agent: stubbed(o.remove('more') ?: [:]), credentials: CREDENTIALS] + o, script)
    }

    void run() {
        credentials()
        values()
        exits()
        examples()
    }

    /** docs/examples, word for word, with the service's configuration in the library. */
    private void examples() {
        def text = { name -> new File(library, 'docs/examples/' + name).text.replaceFirst(/(?m)^@Library.*$/, '') }
        def from = new File(home, 'library')
        new File(from, 'resources').mkdirs()
        new File(from, 'resources/rollback.yaml').text = 'defaults: {repo: "acme/{service}"}'
        new File(from, 'vars').mkdirs() // copied: whoever removes a tree with a link in it removes what the link leads to
        new File(library, 'vars').eachFile { new File(from, 'vars/' + it.name).bytes = it.bytes }
        def controller = new Controller(from, true)
        def answer = [RollbackChoose: { it.parameters[0].args.choices[0] }]

        test('docs/examples/Jenkinsfile.rollback makes its page, and rolls back by it') {
            def j = job()
            def b = go(job: j, controller: controller, text('Jenkinsfile.rollback'))
            assert b.result == 'SUCCESS' && !dump.exists()
            assert j.definitions*.args*.name[0] == 'ROLLBACK_SERVICE'
            b = go(job: j, controller: controller, answers: answer, params: [ROLLBACK_SERVICE: 'web', ROLLBACK_REASON: 'x', ROLLBACK_TO: 'abc1234'], text('Jenkinsfile.rollback'))
            assert b.result == 'SUCCESS'
            assert seen().ROLLBACK_SERVICE == 'web' && seen().ROLLBACK_TO == 'abc1234' && seen().GITHUB_TOKEN && b.step('node').args.label == 'deploy'
            assert new File(dump.path + '.config').text == 'defaults: {repo: "acme/{service}"}'
        }
        test('docs/examples/Jenkinsfile.fleet rolls several services back, in parallel') {
            def j = job()
            def b = go(job: j, controller: controller, text('Jenkinsfile.fleet'))
            assert b.result == 'SUCCESS' && b.description == 'no service was named'
            b = go(job: j, controller: controller, params: [SERVICES: 'payments, web', ROLLBACK_REASON: 'x'], text('Jenkinsfile.fleet'))
            assert b.result == 'SUCCESS'
            assert b.steps*.branch.findAll { it }.unique().sort(false) == ['payments', 'web']
            assert new File(b.artifacts, 'rollback-record').list().sort() == ['payments-prod', 'web-prod']
        }
    }

    private void credentials() {
        test('every credential by its default name, masked, and only inside of the block') {
            def b = go("""node {
                withRollback(github: true, githubKey: true, aws: true, kubeconfig: true, jenkins: true, registry: true, service: 'payments', environment: 'prod') { retagImage(reason: 'x') }
                sh 'env -0 > "\$DUMP.after"'
            }""")
            assert b.result == 'SUCCESS'
            def e = seen()
            assert e.GITHUB_TOKEN == CREDENTIALS['rollback-github'] && e.ROLLBACK_GITHUB_TOKEN_ENV == 'GITHUB_TOKEN'
            assert [e.AWS_ACCESS_KEY_ID, e.AWS_SECRET_ACCESS_KEY] == CREDENTIALS['rollback-aws']
            assert [e.ROLLBACK_JENKINS_USER, e.JENKINS_TOKEN] == CREDENTIALS['rollback-jenkins'] && e.ROLLBACK_JENKINS_TOKEN_ENV == 'JENKINS_TOKEN'
            assert [e.REGISTRY_USERNAME, e.REGISTRY_PASSWORD] == CREDENTIALS['rollback-registry']
            assert [e.ROLLBACK_REGISTRY_USERNAME_ENV, e.ROLLBACK_REGISTRY_PASSWORD_ENV] == ['REGISTRY_USERNAME', 'REGISTRY_PASSWORD']
            assert new File(dump.path + '.kubeconfig').text == CREDENTIALS['rollback-kubeconfig'].file
            assert e.ROLLBACK_GITHUB_KEY_FILE.endsWith('/secret') && !new File(e.ROLLBACK_GITHUB_KEY_FILE).exists(): 'the key file outlives the block'
            def after = new File(dump.path + '.after').text
            assert b.secrets().every { !after.contains(it) }
            assert b.all('withCredentials').size() == 1
            assert !b.step('withCredentials').args.toString().contains('ghp_')
        }
        test('credentials by id; a GitHub App of Jenkins; a role instead of keys') {
            def b = go("node { withRollback(github: 'team-github') { retagImage(service: 'payments', environment: 'prod', reason: 'x') } }")
            assert b.result == 'SUCCESS' && seen().GITHUB_TOKEN == 'ghp_of_the_team_0001'
            b = go("retagImage(service: 'payments', environment: 'prod', reason: 'x', githubLogin: true, registryRole: 'arn:aws:iam::123456789012:role/rollback', githubTokenEnv: 'GH')")
            assert b.result == 'SUCCESS' && seen().GH == 'ghs_abcdef0123456789' && seen().ROLLBACK_GITHUB_TOKEN_ENV == 'GH'
            assert seen().ROLLBACK_REGISTRY_ROLE == 'arn:aws:iam::123456789012:role/rollback' && !seen().AWS_ACCESS_KEY_ID
        }
        test('a credential brings its user and its file, whatever the keys say') {
            def keys = "service: 'payments', environment: 'prod', jenkinsUser: 'oncall', githubKeyFile: '/home/me/key.pem'"
            ["retagImage(${keys}, reason: 'x', jenkins: true, githubKey: true)", "node { withRollback(${keys}, jenkins: true, githubKey: true) { retagImage(reason: 'x') } }",
                "node { withRollback(jenkins: true) { withRollback(githubKey: true) { retagImage(${keys}, reason: 'x') } } }"].each { script ->
                def b = go(script.toString())
                assert b.result == 'SUCCESS'
                assert [seen().ROLLBACK_JENKINS_USER, seen().JENKINS_TOKEN] == CREDENTIALS['rollback-jenkins'] && seen().ROLLBACK_GITHUB_KEY_FILE.endsWith('/secret'): script
            }
            go("retagImage(${keys}, reason: 'x')")
            assert seen().ROLLBACK_JENKINS_USER == 'oncall' && seen().ROLLBACK_GITHUB_KEY_FILE == '/home/me/key.pem'
        }
        test('no credential is bound unless it is asked for') {
            def b = go("node { withRollback { rollbackDoctor(service: 'payments', environment: 'prod') } }")
            assert b.result == 'SUCCESS' && !b.step('withCredentials')
            b = go("node { withRollback(github: false, aws: '') { rollbackDoctor() } }")
            assert b.result == 'SUCCESS' && !b.step('withCredentials')
        }
        test('a credential that is not there is named') {
            def b = go("retagImage(service: 'payments', environment: 'prod', reason: 'x', github: 'nope')")
            assert b.result == 'FAILURE' && b.failure.message.contains("'nope'")
            assert !dump.exists()
        }
        test('variables of Jenkins stand for keys, once, and a key wins over them') {
            def global = [ROLLBACK_GITHUB: 'true', ROLLBACK_AWS: 'rollback-aws', ROLLBACK_KUBECONFIG: 'false']
            def b = go(global: global, "node { withRollback(service: 'payments', environment: 'prod') { retagImage(reason: 'x'); rolloutRestart(reason: 'x') } }")
            assert b.result == 'SUCCESS'
            assert b.all('withCredentials').size() == 1
            assert seen().GITHUB_TOKEN == 'ghp_0123456789abcdef' && seen().AWS_ACCESS_KEY_ID == 'AKIAIOSFODNN7EXAMPLE'
            b = go(global: [ROLLBACK_NODE: 'deploy'], "retagImage(service: 'payments', environment: 'prod', reason: 'x')")
            assert b.step('node').args.label == 'deploy'
            b = go(global: global, "retagImage(service: 'payments', environment: 'prod', reason: 'x', github: 'team-github', aws: false)")
            assert seen().GITHUB_TOKEN == 'ghp_of_the_team_0001' && !seen().AWS_ACCESS_KEY_ID
        }
        test('withRollback takes the agent that it is told to, or one where the caller holds none, and else the one of the caller') {
            def script = "{ retagImage(service: 'payments', environment: 'prod', reason: 'x'); verifyRollback(service: 'payments', environment: 'prod') }"
            def b = go("withRollback(node: 'deploy') ${script}")
            assert b.result == 'SUCCESS' && b.nodes == 1 && b.step('node').args.label == 'deploy' && b.all('sh')*.node.unique() == ['deploy']
            b = go(global: [ROLLBACK_NODE: 'ops'], "withRollback() ${script}")
            assert b.result == 'SUCCESS' && b.nodes == 1 && b.step('node').args.label == 'ops'
            b = go("node('linux') { withRollback ${script} }")
            assert b.result == 'SUCCESS' && b.nodes == 1
            b = go("node('linux') { withRollback(node: 'deploy') ${script} }")
            assert b.result == 'SUCCESS' && b.all('node')*.args*.label == ['linux', 'deploy'] && b.all('sh')*.node.unique() == ['deploy']
        }
        test('the configuration is a path, or a text that becomes a file of the build') {
            def b = go("node { writeFile(file: 'conf/rollback.yaml', text: 'a: 1'); retagImage(service: 'payments', environment: 'prod', reason: 'x', config: 'conf/rollback.yaml') }")
            assert b.result == 'SUCCESS' && seen().ROLLBACK_CONFIG == 'conf/rollback.yaml'
            b = go("retagImage(service: 'payments', environment: 'prod', reason: 'x', configText: 'defaults: {repo: acme/x}')")
            assert b.result == 'SUCCESS' && new File(dump.path + '.config').text == 'defaults: {repo: acme/x}'
            assert !new File(b.artifacts, 'rollback-record/payments-prod.yaml').exists()
            b = go("node { withRollback(configText: 'defaults: {repo: acme/y}') { dir('sub') { retagImage(service: 'payments', environment: 'prod', reason: 'x') } } }")
            assert b.result == 'SUCCESS' && new File(dump.path + '.config').text == 'defaults: {repo: acme/y}': 'it is not found from another directory'
        }
    }

    private void values() {
        test('values arrive as they were given, whatever is in them') {
            def j = job()
            j.definitions = [Steps.describable('string', [[name: 'ROLLBACK_REASON']])]
            def b = go(job: j, params: [ROLLBACK_REASON: AWKWARD], "retagImage(service: 'payments', environment: 'prod')")
            assert b.result == 'SUCCESS' && seen().ROLLBACK_REASON == AWKWARD
            b = go("retagImage(service: 'payments', environment: 'prod', reason: params.x ?: env.AWKWARD)", more: [:], global: [AWKWARD: AWKWARD])
            assert b.result == 'SUCCESS' && seen().ROLLBACK_REASON == AWKWARD
            assert !new File(dump.path + ".never").exists()
            def scripts = b.all('sh')*.args*.script
            assert scripts.every { it.startsWith('#!/bin/sh\n') && !it.contains('quoted') }
        }
        test('a $ on the page stays what it is: no variable of Jenkins gets into a reason, a pull request or a question') {
            def j = job(), why = 'costs $$ 5, see $BUILD_URL, ${SECRET_PLACE} and $HOME'
            j.definitions = [Steps.describable('string', [[name: 'ROLLBACK_REASON']]), Steps.describable('string', [[name: 'ROLLBACK_ENVIRONMENT', defaultValue: 'page']])]
            def global = [SECRET_PLACE: 'vault.example.com']
            def b = go(job: j, params: [ROLLBACK_REASON: why], global: global, "retagImage(service: 'payments')")
            assert b.result == 'SUCCESS' && seen().ROLLBACK_REASON == why
            b = go(job: j, params: [ROLLBACK_REASON: why], global: global, "node { sh('echo \"\$ROLLBACK_REASON\"'); withEnv(['ROLLBACK_ENVIRONMENT=around']) { retagImage(service: 'payments') } }")
            assert b.log.any { it.startsWith('costs $ 5, see http://') && it.contains('vault.example.com') }: 'the harness is not as Jenkins is'
            assert seen().ROLLBACK_REASON == why && seen().ROLLBACK_ENVIRONMENT == 'around'
            b = go(job: j, params: [ROLLBACK_REASON: why], global: global, "rollbackStage(service: 'payments', method: 'retag', reason: 'of the caller')")
            assert seen().ROLLBACK_REASON == 'of the caller'
            b = go(job: j, params: [ROLLBACK_REASON: why], global: global, "rollbackCommand.value([:], 'reason')")
            assert b.returned == why
        }
        test('a text with values put into it is a text, in every key and every list') {
            def b = go("""def x = 'prod'
                def y = 7
                withRollback(node: "de\${'ploy'}", github: "rollback-\${'github'}", configText: "defaults: {repo: \${'acme'}/x}", service: "\${'payments'}") {
                    rollbackStage(environment: "\${x}", method: "\${'retag'}", reason: "since \${y} o'clock", workloads: ["deployment/\${x}", 'statefulset/b'], approve: "\${false}", to: "v\${y}", inputId: "\${x}")
                }""")
            assert b.result == 'SUCCESS' && b.step('node').args.label == 'deploy'
            def e = seen()
            assert [e.ROLLBACK_SERVICE, e.ROLLBACK_ENVIRONMENT, e.ROLLBACK_METHOD, e.ROLLBACK_REASON, e.ROLLBACK_WORKLOADS, e.ROLLBACK_TO] == ['payments', 'prod', 'retag', "since 7 o'clock", 'deployment/prod,statefulset/b', 'v7']
            assert e.GITHUB_TOKEN == CREDENTIALS['rollback-github'] && new File(dump.path + '.config').text == 'defaults: {repo: acme/x}'
            b = build(job: job(), world: new World(), "def n = 'prod'\nrollbackStage(stage: \"Roll \${n} back\", service: 'payments', environment: \"\${n}\", method: 'retag', reason: 'x', approve: true, approveWithin: \"\${5}\", submitter: \"\${n}-leads\")", answers: [RollbackApprovePayments: 'bob'])
            assert b.result == 'SUCCESS' && b.step('timeout').args.time == 5 && b.step('input').args.submitter == 'prod-leads' && b.step('stage').args.name == 'Roll prod back'
        }
        test('lists, numbers and switches are texts of the program') {
            go("retagImage(service: 'payments', environment: 'prod', reason: 'x', workloads: ['deployment/a', 'statefulset/b'], dryRun: true, confirm: false, githubApp: 12345, tag: null, settle: '')")
            def e = seen()
            assert e.ROLLBACK_WORKLOADS == 'deployment/a,statefulset/b' && e.ROLLBACK_DRY_RUN == 'true' && e.ROLLBACK_CONFIRM == 'false' && e.ROLLBACK_GITHUB_APP == '12345'
            assert !e.containsKey('ROLLBACK_TAG') && !e.containsKey('ROLLBACK_SETTLE')
        }
        test('parameters on the first run, which params has and the environment does not, and on the second') {
            def j = job(), script = """
                properties([parameters(rollbackParameters(also: [string(name: 'OTHER', defaultValue: 'x')]))])
                retagImage(service: 'payments', environment: 'prod', reason: 'given')"""
            def b = go(job: j, script)
            assert b.result == 'SUCCESS' && seen().ROLLBACK_TO == 'previous' && seen().ROLLBACK_DRY_RUN == 'false'
            assert b.params.ROLLBACK_METHOD == 'none' && !seen().containsKey('ROLLBACK_METHOD'): 'a parameter of another command reached this one'
            b = go(job: j, params: [ROLLBACK_TO: 'abc1234', ROLLBACK_DRY_RUN: true], script)
            assert seen().ROLLBACK_TO == 'abc1234' && seen().ROLLBACK_DRY_RUN == 'true' && seen().ROLLBACK_REASON == 'given'
            assert !b.all('withEnv').any { it.args.overrides.any { kv -> kv.startsWith('OTHER') } }
        }
        test('the caller wins over the environment, and that over the page') {
            def j = job()
            j.definitions = [Steps.describable('string', [[name: 'ROLLBACK_ENVIRONMENT', defaultValue: 'page']]), Steps.describable('string', [[name: 'ROLLBACK_REASON']])]
            go(job: j, "withEnv(['ROLLBACK_ENVIRONMENT=around']) { retagImage(service: 'payments', reason: 'x') }")
            assert seen().ROLLBACK_ENVIRONMENT == 'around' && seen().ROLLBACK_STATE == 'rollback-record/payments-around'
            go(job: j, "node { withRollback(environment: 'outer') { retagImage(service: 'payments', reason: 'x') } }")
            assert seen().ROLLBACK_ENVIRONMENT == 'outer'
            go(job: j, "node { withRollback(environment: 'outer') { retagImage(service: 'payments', environment: 'inner', reason: 'x') } }")
            assert seen().ROLLBACK_ENVIRONMENT == 'inner'
            go(job: j, "retagImage(service: 'payments', reason: '')")
            assert seen().ROLLBACK_ENVIRONMENT == 'page' && !seen().containsKey('ROLLBACK_REASON')
        }
        test('who started the build is who acts; a timer is nobody') {
            go("retagImage(service: 'payments', environment: 'prod', reason: 'x')")
            assert seen().ROLLBACK_USER == 'alice'
            go(causes: [[_class: 'UpstreamCause', upstreamProject: 'p'], [_class: 'UserIdCause', userId: 'bob']], "retagImage(service: 'payments', environment: 'prod', reason: 'x')")
            assert seen().ROLLBACK_USER == 'bob'
            go(causes: [[_class: 'TimerTriggerCause']], "retagImage(service: 'payments', environment: 'prod', reason: 'x')")
            assert !seen().containsKey('ROLLBACK_USER')
            go("retagImage(service: 'payments', environment: 'prod', reason: 'x', user: 'release-bot')")
            assert seen().ROLLBACK_USER == 'release-bot'
        }
        test('a name from the page does not lead out of the folder of records') {
            def j = job()
            j.definitions = [Steps.describable('string', [[name: 'ROLLBACK_SERVICE']])]
            ['../../etc', '..', '.', '/abs', 'a b$(id)'].each { name ->
                def b = go(job: j, params: [ROLLBACK_SERVICE: name], "retagImage(reason: 'x')")
                assert b.result == 'SUCCESS'
                assert seen().ROLLBACK_STATE ==~ /rollback-record\/[A-Za-z0-9_-][A-Za-z0-9_.-]*/
                assert seen().ROLLBACK_SERVICE == name
            }
        }
    }

    private void exits() {
        [0: ['SUCCESS', null], 1: ['FAILURE', 'retagImage payments/prod: done retag'], 2: ['FAILURE', 'retagImage payments/prod: done retag'], 3: ['UNSTABLE', null],
            4: ['FAILURE', 'PRODUCTION CHANGED, NOT VERIFIED'], 5: ['FAILURE', 'retagImage payments/prod: done retag'], 137: ['FAILURE', 'PRODUCTION CHANGED, NOT VERIFIED'],
            127: ['FAILURE', 'retagImage payments/prod: done retag']].each { code, want ->
            test("exit code ${code} makes the build ${want[0]}") {
                def b = go(more: [STUB_EXIT: "$code".toString()], "retagImage(service: 'payments', environment: 'prod', reason: 'x')")
                assert b.result == want[0]
                assert want[1] == null ? b.failure == null : b.failure.message.startsWith(want[1])
                assert b.names().contains('archiveArtifacts')
            }
        }
    }
}
