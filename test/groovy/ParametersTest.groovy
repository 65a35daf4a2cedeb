import static Suite.test
import static Pipelines.*

/** The page "Build with Parameters", and the job that is one line. */
class ParametersTest {
    static final List<String> PAGE = ['ROLLBACK_METHOD', 'ROLLBACK_TO', 'ROLLBACK_REASON', 'ROLLBACK_DRY_RUN', 'ROLLBACK_ACCEPT', 'ROLLBACK_ACCEPT_MIGRATIONS', 'ROLLBACK_WAIT', 'ROLLBACK_ID']
    static final String ONE = "rollbackPipeline(service: 'payments', environment: 'prod')"

    void run() {
        test('the page of a pipeline that does something else as well rolls back only when told to') {
            def j = job()
            def b = build(job: j, "properties([parameters(rollbackParameters(also: [booleanParam(name: 'DEPLOY', defaultValue: true)]))])")
            assert b.result == 'SUCCESS'
            assert j.definitions*.args*.name == PAGE + ['DEPLOY']
            assert j.definitions[0].args.choices == ['none', 'retag', 'revert', 'undo']
            assert b.params.ROLLBACK_METHOD == 'none' && b.params.ROLLBACK_TO == 'previous' && b.params.ROLLBACK_DRY_RUN == false && b.params.DEPLOY == true
            assert j.definitions.every { it.args.name == 'DEPLOY' || it.args.description }
        }
        test('service and environment are chosen from a list, or typed') {
            def j = job()
            build(job: j, "properties([parameters(rollbackParameters(none: false, services: ['payments', 'web'], environments: []))])")
            assert j.definitions*.args*.name == ['ROLLBACK_SERVICE', 'ROLLBACK_ENVIRONMENT'] + PAGE
            assert j.definitions[0].symbol == 'choice' && j.definitions[0].args.choices == ['payments', 'web']
            assert j.definitions[1].symbol == 'string'
            assert j.definitions[2].args.choices == ['retag', 'revert', 'undo']
        }
        test('what is offered may be a text with commas') {
            def j = job()
            build(job: j, "rollbackPipeline(services: ' payments, web ,', environments: 'prod')")
            assert last.result == 'SUCCESS' && j.definitions[0].args.choices == ['payments', 'web'] && j.definitions[1].args.choices == ['prod']
        }
        test('a page for several services lets them go side by side; one of a single service has one build at a time') {
            ["services: ['payments', 'web'], environment: 'prod'": true, "service: 'payments'": true, '': true, "service: 'payments', environment: 'prod'": false].each { keys, concurrent ->
                def j = job()
                build(job: j, "rollbackPipeline(${keys})")
                assert last.result == 'SUCCESS' && j.concurrent == concurrent: keys
            }
        }
        test('rollbackParameters takes what makes the page, and nothing that it would not look at') {
            ["service: 'payments'": 'no key "service", did you mean "services"?', 'github: true': 'no key "github".', "also: 'DEPLOY'": 'also takes a list of parameters.'].each { key, why ->
                def b = build(job: job(), "rollbackParameters(${key})")
                assert b.result == 'FAILURE' && b.names() == ['error'] && b.failure.message == "rollbackParameters: ${why} Nothing was started."
            }
        }
        test('the first build of a one-line job makes its page, and nothing else') {
            def w = new World(), j = job()
            def b = build(job: j, world: w, ONE)
            assert b.result == 'SUCCESS' && b.nodes == 0
            assert j.definitions*.args*.name == PAGE && !j.concurrent
            assert b.description == 'the page is ready: Build with Parameters'
            assert w.running() == w.facts.WORLD_BAD
        }
        test('the next build of a one-line job rolls back as the page says') {
            def w = new World(), j = job()
            build(job: j, world: w, ONE)
            def b = build(job: j, world: w, params: [ROLLBACK_REASON: 'amounts are "wrong" since $(date)', ROLLBACK_TO: w.facts.WORLD_OLDER_COMMIT], ONE)
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_OLDER
            assert b.step('stage').args.name == 'Rollback'
            assert build(job: job(), world: w, "rollbackStatus(service: 'payments', environment: 'prod')").returned.reason == 'amounts are "wrong" since $(date)'
        }
        test('a page without a reason starts nothing') {
            def w = new World(), j = job()
            build(job: j, world: w, ONE)
            def b = build(job: j, world: w, ONE)
            assert b.result == 'FAILURE' && b.failure.message.contains('no reason given') && b.nodes == 0
        }
        test('a job that was made with its page rolls back in its first build') {
            def w = new World(), j = job()
            def page = build(job: job(), ONE).job.definitions
            j.definitions = page
            j.tracked = true // as `rollback jobs apply` and docs/examples/jobs.groovy write it
            def b = build(job: j, world: w, params: [ROLLBACK_REASON: 'amounts', ROLLBACK_METHOD: 'retag'], ONE)
            assert b.result == 'SUCCESS' && w.running() == w.facts.WORLD_GOOD
            assert j.definitions*.toString() == page*.toString()
            def byHand = job()
            byHand.definitions = page
            build(job: byHand, params: [ROLLBACK_DRY_RUN: true], ONE)
            assert byHand.definitions.size() == 2 * page.size(): 'the harness is not as Jenkins is'
            build(job: byHand, ONE)
            assert byHand.definitions*.toString() == page*.toString(): 'the second run does not put it right'
        }
        test('the job that the program writes rolls back, with credentials that variables of Jenkins name') {
            def w = new World()
            def command = new ProcessBuilder(new File(World.bin, 'rollback').path, 'jobs', 'apply', '--dry-run', '--adopt', '--environment', 'prod', '--service', 'payments').redirectErrorStream(true)
            command.environment().clear()
            command.environment().putAll(agent(w.env))
            def lines = command.start().inputStream.readLines('UTF-8')
            def at = lines.indexOf('+  rollbackPipeline(')
            assert at > 0: lines
            def script = lines.subList(at, lines.indexOf('+  )') + 1)*.substring(3).join('\n')
            def j = job()
            j.definitions = build(job: job(), ONE).job.definitions
            def e = w.env, bare = agent(e.findAll { it.key.startsWith('AWS_ENDPOINT') || it.key in ['AWS_REGION', 'AWS_EC2_METADATA_DISABLED'] })
            def b = build(job: j, agent: bare, params: [ROLLBACK_REASON: 'amounts', ROLLBACK_METHOD: 'retag'], answers: [RollbackApprove: 'bob'], script,
                global: [ROLLBACK_NODE: 'deploy', ROLLBACK_GITHUB: 'true', ROLLBACK_AWS: 'true', ROLLBACK_KUBECONFIG: 'true', ROLLBACK_JENKINS: 'true'],
                credentials: ['rollback-github': e.GITHUB_TOKEN, 'rollback-aws': [e.AWS_ACCESS_KEY_ID, e.AWS_SECRET_ACCESS_KEY], 'rollback-kubeconfig': [file: new File(e.KUBECONFIG).text],
                    'rollback-jenkins': ['oncall', e.JENKINS_TOKEN]])
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
            assert b.step('node').args.label == 'deploy' && b.returned.pullRequest
            assert b.step('input'): 'the loopback rollback.yaml asks for approval, and the job does not'
        }
        test('one page for several services, with approval under the fixed id') {
            def w = new World(), j = job('rollback')
            def script = "rollbackPipeline(services: ['payments', 'web'], environments: ['prod'], approve: true, submitter: 'leads')"
            build(job: j, world: w, script)
            def b = build(job: j, world: w, params: [ROLLBACK_SERVICE: 'payments', ROLLBACK_REASON: 'amounts'], answers: [RollbackApprove: 'bob'], script)
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
            assert b.step('input').node == null
            assert b.all('stage')*.args*.name == ['Plan', 'Approve', 'Run']
            assert new File(b.artifacts, 'rollback-record/payments-prod/result.txt').exists()
        }
        test('a job that is all rollback has a stage for each of its parts, and a stage of the caller none within it') {
            def stages = { keys, page = [:] ->
                def j = job(), script = "rollbackPipeline(service: 'payments', environment: 'prod', ${keys})".toString()
                build(job: j, script)
                def w = new World()
                build(job: j, world: w, params: [ROLLBACK_REASON: 'x'] + page, answers: [RollbackApprove: 'bob', RollbackChoose: { it.parameters[0].args.choices[0] }], script)
                assert last.result == 'SUCCESS'
                last.all('stage')*.args*.name
            }
            assert stages('choose: true, approve: true') == ['Choose', 'Plan', 'Approve', 'Run']
            assert stages('approve: true') == ['Plan', 'Approve', 'Run']
            assert stages('approve: false') == ['Rollback']
            assert stages('approve: true', [ROLLBACK_DRY_RUN: true]) == ['Plan']
            def b = build(job: job(), world: new World(), answers: [RollbackApprovePayments: 'bob'], "stage('Back') { rollbackStage(service: 'payments', environment: 'prod', method: 'retag', reason: 'x', approve: true) }")
            assert b.result == 'SUCCESS' && b.all('stage').size() == 1
        }
        test('a declarative stage with agent none: parameters not known before the first run, and known after it') {
            def w = new World(), j = job()
            def block = Pipelines.build(job: job(), "properties([parameters(rollbackParameters())])").job.definitions
            def script = "stage('Rollback') { rollbackStage(service: 'payments', environment: 'prod') }" // what a declarative stage comes to
            def first = new Build(controller: controller(), job: j, agent: agent(w.env))
            block.each { first.params[it.args.name] = Build.defaultOf(it) } // params has them, the environment does not
            last = first
            controller().run(first, script)
            assert first.result == 'SUCCESS' && first.names() == ['stage', 'echo']
            j.definitions = block
            def b = build(job: j, world: w, params: [ROLLBACK_METHOD: 'retag', ROLLBACK_REASON: 'amounts'], script)
            assert b.result == 'SUCCESS' && w.running() == w.facts.WORLD_GOOD
        }
        test('the page of the first run is passed on before the environment has it') {
            def w = new World(), j = job()
            def b = build(job: j, world: w, """
                properties([parameters(rollbackParameters(none: false))])
                rollbackStage(service: 'payments', environment: 'prod', reason: 'amounts')""")
            assert b.result == 'SUCCESS' && b.returned.method == 'retag'
            assert w.running() == w.facts.WORLD_GOOD
        }
    }
}
