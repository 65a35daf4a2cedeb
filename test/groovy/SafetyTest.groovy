import static Suite.test
import static Pipelines.*

/** What must not be in the library, and that the harness would notice it. */
class SafetyTest {
    private static final List<File> VARS = new File(library, 'vars').listFiles().findAll { it.name.endsWith('.groovy') }.sort { it.name }

    void run() {
        scan()
        machine()
        keys()
        test('nothing stands in whitelist.txt that no step uses') { // last: it looks back at all builds
            if (Suite.only || System.getProperty('test.classes')) {
                return
            }
            def idle = Whitelist.ALLOWED - Whitelist.used
            assert idle.isEmpty()
        }
    }

    private void scan() {
        VARS.each { f ->
            test("${f.name} holds nothing that CPS, the sandbox or a restart would refuse") {
                assert Scan.of(f.name, f.text).isEmpty()
                assert new File(f.path.replace('.groovy', '.txt')).exists(): 'it has no help'
            }
        }
        ['list.sort { it.x }', 'list.toSorted()', 'list.max { it }', 'for (k in m.keySet()) { }', 'def i = l.iterator()', 'l.each { sh(it) }', 'new JsonSlurper().parseText(x)',
            'new groovy.json.JsonSlurperClassic()', 'Jenkins.get().items', 'Jenkins.instance', 'import jenkins.model.Jenkins', "new File('x')", "new URL('x').text", "'ls'.execute()",
            'sh "rollback ${to}"', 'sh(script: "echo ${x}")', 'def s = "a${b}"', "@Grab('x:y:1')", 'currentBuild.rawBuild', 'String.metaClass.x = {}', '@NonCPS', "System.getenv('X')",
            "env['X']", 'env.getEnvironment()', 'sleep(10)', 'def m = x =~ /y/', 'try { } catch (Exception e) { }', 'echo params.toString()', "readFile('x')", "writeFile(file: 'x', text: y)", "sh(label: 'x', script: '\'\'\'x')"].each { line ->
            test("the scan finds: ${line}") {
                assert Scan.of('x.groovy', "def call() {\n    ${line}\n}".toString()).any { it.startsWith('x.groovy:2') }
            }
        }
        test('the scan lets shell scripts and comments be') {
            assert Scan.of('x.groovy', "sh(encoding: 'UTF-8', script: '''#!/bin/sh\necho \"\${X:-y}\"\n''')\n// not \"\${this}\"\n").isEmpty()
        }
    }

    private void machine() {
        test('the harness fails what is not serialisable across a step, as a controller does') {
            ["def m = 'abc' =~ /b/\nm.find()\necho('x')\nm.start()": 'Matcher', "def m = [a: 1]\nfor (k in m.keySet()) { echo(k) }": 'Iterator', "def t = Thread.currentThread()\necho('x')\nt.name": 'Thread',
                "def s = new StringReader('a')\nnode { echo('x') }\ns.read()": 'StringReader', "for (k in [1, 2]) { echo('x') }": 'Itr'].each { script, what ->
                def said = ''
                try {
                    build(job: job(), sandbox: false, script)
                } catch (AssertionError e) {
                    said = e.message
                }
                assert said.contains('not serialisable') && said.contains(what): script
            }
        }
        test('the harness refuses in the sandbox what a folder library may not') {
            ["System.getenv('X')", "new File('/x')", "'ls'.execute()", "env['X']", "String.metaClass", "'x'.class.classLoader", "new groovy.json.JsonSlurperClassic()", "currentBuild.rawBuild"].each { line ->
                def said = ''
                try {
                    build(job: job(), line)
                } catch (AssertionError e) {
                    said = e.message
                }
                assert said.contains('Scripts not permitted'): line
            }
        }
        test('the harness fails on a step that is not there, or an argument that it does not take') {
            ["slackSend(message: 'x')": 'no step', "echo(text: 'x')": 'takes no text', "archiveArtifacts(allowEmptyArchive: true)": 'needs artifacts', "withEnv(['A=1'])": 'needs a block',
                "string(nam: 'x')": 'takes no', 'node { sh "echo ${1}" }': 'values put into it', "node { withEnv([\"A=\${1}\"]) { } }": 'withEnv was given'].each { script, text ->
                def said = ''
                try {
                    build(job: job(), sandbox: false, script)
                } catch (AssertionError e) {
                    said = e.message + e.cause?.message
                }
                assert said.contains(text): "${script}: ${said}"
            }
        }
        test('the harness knows what needs a node, and what the environment of sh is') {
            def b = build(job: job(), "sh('true')")
            assert b.result == 'FAILURE' && b.failure.message.contains('Perhaps you forgot to surround')
            b = build(job: job(), agent: [PATH: '/usr/bin:/bin', A: 'machine', HOME: '/'], "node('linux') { withEnv(['A=x=y', 'EMPTY=', 'PATH+RB=/opt/rb']) { sh(script: '#!/bin/sh\\necho \"A=\$A EMPTY=\${EMPTY-unset} P=\${PATH%%:*} N=\$NODE_NAME \$BUILD_TAG \$CI\"') } }")
            assert b.log.any { it == "A=x=y EMPTY=unset P=/opt/rb N=linux jenkins-${b.job.name}-1 true" }
            def home = 'HOME'
            assert !System.getenv().keySet().any { it != home && it != 'PATH' && it != 'A' && b.environment(new Context(node: 'x', workspace: 'y')).containsKey(it) && System.getenv(it) == b.environment(new Context(node: 'x', workspace: 'y'))[it] && !(it in ['LANG', 'CI', 'USER']) }
        }
        test('the harness finds a secret that is printed, or passed on') {
            def c = [tok: 'ghp_0123456789']
            ["node { withCredentials([string(credentialsId: 'tok', variable: 'T')]) { sh(script: '#!/bin/sh\\necho \$T') } }", "node { withCredentials([string(credentialsId: 'tok', variable: 'T')]) { def t = env.T; echo(t.toString()); writeFile(file: 'x', text: t) } }"].each { script ->
                def said = ''
                try {
                    build(job: job(), credentials: c, script)
                } catch (AssertionError e) {
                    said = e.message
                }
                assert said.contains('secret'): script
            }
        }
        test('a masked value is masked, and a failed step ends the build') {
            def b = build(job: job(), credentials: [tok: 'ghp_0123456789'], "node { withCredentials([string(credentialsId: 'tok', variable: 'T')]) { sh('false') } }")
            assert b.result == 'FAILURE' && b.failure.message == 'script returned exit code 1'
            assert b.log.any { it.contains('Masking supported pattern matches of $T') }
        }
    }

    private void keys() {
        def steps = VARS*.name*.replace('.groovy', '') - ['rollbackCommand']
        steps.each { step ->
            test("${step} refuses a key that it does not know, before anything runs") {
                (step == 'rollbackStage' ? ['enviroment': 'environment', 'registryacount': 'registryAccount', 'kubeConfig': 'kubeconfig'] : ['servce': step == 'rollbackParameters' ? 'services' : 'service']).each { wrong, right ->
                    def b = build(job: job(), step == 'withRollback' ? "withRollback(${wrong}: 'x') { echo('ran') }" : "${step}(${wrong}: 'x')")
                    assert b.result == 'FAILURE'
                    assert b.names() == ['error']
                    assert b.failure.message == "${step}: no key \"${wrong}\", did you mean \"${right}\"? Nothing was started."
                }
            }
        }
        test('a key like no other is refused without a guess, and one of a wrong kind as well') {
            def b = build(job: job(), "retagImage(somethingElseAltogether: 'x')")
            assert b.failure.message == 'retagImage: no key "somethingElseAltogether". Nothing was started.'
            b = build(job: job(), "retagImage(service: [a: 1])")
            assert b.failure.message.contains('service takes a text')
            b = build(job: job(), "retagImage(yes: true)")
            assert b.failure.message.contains('no key "yes"'): 'a switch that the step sets itself'
        }
        test('the distance of two words') {
            def d = { a, b -> build(job: job(), "rollbackCommand.distance('${a}', '${b}', 9)").returned }
            assert [d('', 'abc'), d('abc', ''), d('abc', 'abc'), d('kitten', 'sitting'), d('flaw', 'lawn')] == [3, 3, 0, 3, 2]
        }
    }
}
