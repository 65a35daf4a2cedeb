import static Suite.test
import static Pipelines.*

/** rollbackStage against the real program and the loopback world. */
class StageTest {
    static final String ROLL = "rollbackStage(service: 'payments', environment: 'prod', method: 'retag', reason: 'amounts are wrong')"
    static final String STARTED = 'STARTED payments/prod, end not known: rollback status --service payments --environment prod'
    static final String RECORD = 'rollback-record/payments-prod/'

    void run() {
        nothing()
        retag()
        choose()
        approve()
        others()
        abort()
        lost()
        parallel()
    }

    private void nothing() {
        test('the method none does nothing and says so') {
            def b = build(job: job(), "rollbackStage(service: 'payments', environment: 'prod', method: 'none')")
            assert b.result == 'SUCCESS'
            assert b.names() == ['echo']
            assert b.log.contains('rollback: payments/prod stays as it is, the method is none.')
            assert b.returned == [method: 'none', exit: '0']
        }
        test('without a method nothing is rolled back') {
            def b = build(job: job(), "rollbackStage(service: 'payments', environment: 'prod', reason: 'x')")
            assert b.result == 'SUCCESS'
            assert b.names() == ['echo']
            assert b.log.any { it.contains('no method was given') }
        }
        test('without a reason nothing is started, and nobody is asked') {
            def b = build(job: job(), "rollbackStage(service: 'payments', environment: 'prod', method: 'retag', approve: true, reason: ' ')")
            assert b.result == 'FAILURE'
            assert b.names() == ['error']
            assert b.failure.message.contains('no reason given')
        }
    }

    private void retag() {
        test('a rollback from the stage, end to end, on an agent of its own') {
            def w = new World()
            def b = build(job: job(), world: w, "rollbackStage(stage: 'Rollback', service: 'payments', environment: 'prod', method: 'retag', reason: 'amounts are wrong')")
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
            assert b.nodes == 1
            assert b.names() == ['stage', 'node', 'withEnv', 'sh', 'withEnv', 'withEnv', 'sh', 'readFile', 'catchError', 'archiveArtifacts']
            assert b.description.startsWith('payments/prod is back on ' + w.facts.WORLD_GOOD_COMMIT[0..6])
            assert b.description =~ /\/pull\/\d+$/
            assert b.descriptions[0] == STARTED && b.descriptions.size() == 2: 'the build does not say from the start that production is being changed'

            def left = b.artifacts.listFiles()[0].listFiles()[0].list() as Set
            assert left.containsAll(['plan.json', 'result.txt', 'build.txt'])
            assert left.count { it.endsWith('.jsonl') } == 1
            def r = result(b, RECORD + 'result.txt')
            assert r.exit == '0' && r.to == w.facts.WORLD_GOOD && r.from == w.facts.WORLD_BAD && r.method == 'retag'
            assert b.returned.to == w.facts.WORLD_GOOD && b.returned.pullRequest == r.pullRequest

            assert b.log.count { it.contains('verdict   safe') } == 1: 'the plan is printed once'
            def at = ['verdict   safe', '✔ retag', '✔ verify', 'is back on'].collect { text -> b.log.findIndexOf { it.contains(text) } }
            assert at.every { it >= 0 } && at == at.sort(false): "the log is not in order: ${at}"
        }
        test('in a node of the caller no other is taken') {
            def w = new World()
            def b = build(job: job(), world: w, "node('linux') { ${ROLL} }")
            assert b.result == 'SUCCESS'
            assert b.nodes == 1
            assert b.all('sh')*.node.unique() == ['linux']
            assert w.running() == w.facts.WORLD_GOOD
        }
        test('a node that is asked for is taken, as a trusted library as well') {
            def w = new World()
            def b = build(job: job(), world: w, sandbox: false, ROLL.replace("'prod',", "'prod', node: 'deployers',"))
            assert b.result == 'SUCCESS'
            assert b.step('node').args.label == 'deployers'
            assert w.running() == w.facts.WORLD_GOOD
        }
        test('files of an earlier build in the workspace are not those of this one') {
            def w = new World(), j = job()
            build(job: j, world: w, ROLL)
            def first = new File(last.artifacts, RECORD).list().find { it.endsWith('.jsonl') }
            def b = build(job: j, world: w, "rollbackStage(service: 'payments', environment: 'prod', method: 'undo', reason: 'false alarm')")
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_BAD
            def files = new File(b.artifacts, RECORD).list() as List
            assert !files.contains(first)
            assert result(b, RECORD + 'result.txt').method == 'undo'
        }
        test('a dry run plans and stops') {
            def w = new World()
            def b = build(job: job(), world: w, "rollbackStage(service: 'payments', environment: 'prod', method: 'retag', dryRun: true, approve: true)")
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_BAD
            assert b.all('sh').size() == 2 && !b.step('input')
            assert new File(b.artifacts, RECORD + 'plan.json').exists() && !new File(b.artifacts, RECORD + 'result.txt').exists()
            assert b.description.contains('roll back by retag')
        }
        test('a refused plan fails the build and touches nothing') {
            def w = new World()
            def b = build(job: job(), world: w, "rollbackStage(service: 'payments', environment: 'prod', method: 'retag', to: '0123456789abcdef0123456789abcdef01234567', reason: 'x')")
            assert b.result == 'FAILURE'
            assert w.running() == w.facts.WORLD_BAD
            assert b.all('sh').size() == 2
            assert b.description.startsWith('FAILED payments/prod: ')
            assert b.step('archiveArtifacts')
        }
        test('a mistake in the configuration fails with the words of the program') {
            def w = new World()
            def b = build(job: job(), world: w, ROLL.replace("'prod',", "'prod', timeout: 'soon',"))
            assert b.result == 'FAILURE'
            assert b.failure.message.contains('soon')
            assert w.running() == w.facts.WORLD_BAD
        }
        test('production changed and not verified is said in loud words') {
            def w = new World()
            w.ask('break')
            def b = build(job: job(), world: w, ROLL.replace("'prod',", "'prod', timeout: '5s',"))
            assert b.result == 'FAILURE'
            assert result(b, RECORD + 'result.txt').exit == '4'
            assert b.failure.message.startsWith('PRODUCTION CHANGED, NOT VERIFIED. payments/prod: ')
            assert b.description.startsWith('PRODUCTION CHANGED, NOT VERIFIED: payments/prod')
        }
    }

    private void choose() {
        test('choose offers the eligible candidates outside of a node, and goes where it was told') {
            def w = new World(), choices = []
            def b = build(job: job(), world: w, answers: [RollbackChoosePayments: { a -> choices.addAll(a.parameters[0].args.choices); choices.find { it.startsWith(w.facts.WORLD_OLDER_COMMIT[0..6]) } }],
                ROLL.replace("'prod',", "'prod', choose: true, submitter: 'alice,oncall', approveWithin: 5,"))
            assert b.result == 'SUCCESS'
            assert choices.size() >= 2 && choices[0].startsWith(w.facts.WORLD_GOOD_COMMIT[0..6])
            assert choices[0].contains('Cache exchange rates for a minute') && choices[0].contains('payments-dev')
            assert b.step('input').node == null: 'an agent was held while a person was asked'
            assert b.step('input').args.submitter == 'alice,oncall'
            assert b.step('timeout').args == [time: 5, unit: 'MINUTES']
            assert b.nodes == 2
            assert w.running() == w.facts.WORLD_OLDER
            assert new File(b.artifacts, RECORD + 'candidates.txt').exists()
        }
        test('an answer without a choice starts nothing') {
            def w = new World()
            def b = build(job: job(), world: w, answers: [RollbackChoosePayments: null], ROLL.replace("'prod',", "'prod', choose: true,"))
            assert b.result == 'FAILURE'
            assert b.failure.message.contains('none of the candidates was chosen. Nothing was started.')
            assert w.running() == w.facts.WORLD_BAD
        }
        test('who names a target is not asked for one') {
            def w = new World()
            def b = build(job: job(), world: w, ROLL.replace("'prod',", "'prod', choose: true, to: '${w.facts.WORLD_OLDER_COMMIT}',"))
            assert b.result == 'SUCCESS' && !b.step('input')
            assert w.running() == w.facts.WORLD_OLDER
        }
    }

    private void approve() {
        test('approve shows the plan outside of a node, and runs what was approved') {
            def w = new World(), asked = null
            def b = build(job: job(), world: w, answers: [RollbackApprovePayments: { a -> asked = a; 'bob' }], ROLL.replace("'prod',", "'prod', approve: true, submitter: 'leads',"))
            assert b.result == 'SUCCESS'
            assert asked.message.contains('payments/prod: roll back by retag') && asked.message.contains('Reason: amounts are wrong')
            assert asked.submitter == 'leads' && asked.submitterParameter == 'ROLLBACK_APPROVED_BY' && !asked.parameters
            assert b.step('input').node == null && b.nodes == 2
            assert b.step('timeout').args.time == 60
            assert w.running() == w.facts.WORLD_GOOD
            def planned = new groovy.json.JsonSlurper().parse(new File(b.artifacts, RECORD + 'plan.json'))
            assert result(b, RECORD + 'result.txt').run == planned.id: 'what ran is not what was approved'
            assert new File(b.artifacts, RECORD + 'plan.txt').exists()
            assert b.log.count { it.startsWith('rollback version') } == 1 && !b.log.any { it.startsWith('plan written') }
            assert b.log.count { it.contains('verdict   safe') } == 1 && b.log.count { it.startsWith('as planned  payments/prod: roll back by retag') } == 1: 'the plan is printed once'
            def status = build(job: job(), world: w, "rollbackStatus(service: 'payments', environment: 'prod')").returned
            assert status.by == 'alice, approved by bob'
            assert status.reason == 'amounts are wrong'
        }
        test('what is no ASCII arrives whole in the question, the plan, the record and the description, wherever LANG is not set') {
            def w = new World(), asked = null, why = 'Beträge — „falsch“ → zurück'
            def b = build(job: job(), agent: agent(w.env) - [LANG: 'C.UTF-8'], answers: [RollbackApprovePayments: { a -> asked = a.message; 'bob' }],
                ROLL.replace("'prod',", "'prod', approve: true,").replace('amounts are wrong', why))
            assert b.result == 'SUCCESS' && w.running() == w.facts.WORLD_GOOD
            assert asked.contains('→') && asked.endsWith('Reason: ' + why)
            assert b.log.any { it.startsWith('✔ verify') }
            assert new groovy.json.JsonSlurper().parse(new File(b.artifacts, RECORD + 'plan.json'), 'UTF-8').reason == why
            assert build(job: job(), world: w, "rollbackStatus(service: 'payments', environment: 'prod')").returned.reason == why
        }
        test('who approved may come in a map, or not at all') {
            def w = new World()
            def b = build(job: job(), world: w, answers: [RollbackApprovePayments: [ROLLBACK_APPROVED_BY: 'carol']], ROLL.replace("'prod',", "'prod', approve: true,"))
            assert b.result == 'SUCCESS'
            assert b.all('withEnv').any { it.args.overrides.contains('ROLLBACK_USER=alice, approved by carol') }
            w = new World()
            b = build(job: job(), world: w, answers: [RollbackApprovePayments: null], causes: [[_class: 'TimerTrigger']], ROLL.replace("'prod',", "'prod', approve: true,"))
            assert b.result == 'SUCCESS'
            assert b.all('withEnv').any { it.args.overrides.contains('ROLLBACK_USER=unknown, approved') }
        }
        test('approved on one agent, run on another') {
            def w = new World(), j = job()
            def b = build(job: j, world: w, answers: [RollbackApprovePayments: { new File(j.home, 'agents').deleteDir(); 'bob' }], ROLL.replace("'prod',", "'prod', approve: true,"))
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
        }
        test('a world that has moved since the approval is refused') {
            def w = new World()
            def b = build(job: job(), world: w, answers: [RollbackApprovePayments: {
                def other = new Build(controller: controller(), job: job('other'), agent: agent(w.env))
                def here = [Build.current, Build.context]
                other.controller.run(other, ROLL)
                Build.current = here[0]
                Build.context = here[1]
                assert other.result == 'SUCCESS'
                'bob'
            }], ROLL.replace("'prod',", "'prod', approve: true, to: '${w.facts.WORLD_OLDER_COMMIT}',"))
            assert b.result == 'FAILURE'
            assert result(b, RECORD + 'result.txt').exit == '5'
            assert w.running() == w.facts.WORLD_GOOD
        }
        test('not approved: aborted, and nothing was touched') {
            def w = new World()
            def b = build(job: job(), world: w, answers: [RollbackApprovePayments: new Interrupted('Rejected by bob')], ROLL.replace("'prod',", "'prod', approve: true,"))
            assert b.result == 'ABORTED'
            assert w.running() == w.facts.WORLD_BAD
            assert new File(b.artifacts, RECORD + 'plan.json').exists()
        }
        test('where the name must be confirmed, somebody is asked: by a key, a variable, the page, or what is around it') {
            def w = new World()
            def no = [RollbackApprovePayments: new Interrupted('no')]
            ["'prod', confirm: true,": [:], "'prod', confirm: 'true', approve: false,": [:], "'prod',": [ROLLBACK_CONFIRM: 'true'], "'prod', ": [ROLLBACK_JENKINS_APPROVE: 'true']].each { keys, global ->
                def b = build(job: job(), world: w, answers: no, global: global, ROLL.replace("'prod',", keys))
                assert b.result == 'ABORTED' && b.step('input'): keys
            }
            def b = build(job: job(), world: w, answers: no, "node { withRollback(confirm: true) { ${ROLL} } }")
            assert b.result == 'ABORTED' && b.step('input')
            assert w.running() == w.facts.WORLD_BAD
            b = build(job: job(), world: w, global: [ROLLBACK_CONFIRM: 'true'], ROLL.replace("'prod',", "'prod', confirm: false,"))
            assert b.result == 'SUCCESS' && !b.step('input')
        }
        test('what is neither yes nor no of approve, choose, confirm and dryRun starts nothing') {
            ["approve: 'yes'", "approve: 'True'", 'approve: 1', "approve: 'on'", "approve: ''", 'approve: null', 'approve: [true]', "choose: 'yes'", "dryRun: 'yes'", 'dryRun: 1', "confirm: 'ja'"].each { key ->
                def b = build(job: job(), ROLL.replace("'prod',", "'prod', ${key},"))
                assert b.result == 'FAILURE' && b.names() == ['error']: key
                assert b.failure.message =~ /^rollbackStage: (approve|choose|dryRun|confirm) takes true or false, not ".*"\. Nothing was started\.$/
            }
            def b = build(job: job(), "rollbackPipeline(service: 'payments', environment: 'prod', approve: 'yes')")
            assert b.names() == ['error']
            b = build(job: job(), "rollbackParameters(none: 'no')")
            assert b.names() == ['error']
            b = build(job: job(), "retagImage(service: 'payments', environment: 'prod', reason: 'x', dryRun: 'yes')")
            assert b.names() == ['error']
            [ROLLBACK_CONFIRM: 'yes', ROLLBACK_DRY_RUN: '1', ROLLBACK_JENKINS_APPROVE: 'on'].each { name, said ->
                b = build(job: job(), global: [(name): said], ROLL)
                assert b.names() == ['error'] && b.failure.message == "rollbackStage: ${name} takes true or false, not \"${said}\". Nothing was started.": name
            }
        }
        test('how long to wait for an answer is a number of minutes, or nothing is started') {
            ["'30s'", "'-1'", 0, "'1.5'", 'true', "'100000'"].each { v ->
                def b = build(job: job(), ROLL.replace("'prod',", "'prod', approve: true, approveWithin: ${v},"))
                assert b.names() == ['error'] && b.failure.message.contains('approveWithin takes minutes, a whole number, not "'): v
            }
            def w = new World(), no = [RollbackApprovePayments: new Interrupted('no')]
            ["'7'": 7, "''": 60, 'null': 60].each { v, minutes ->
                def b = build(job: job(), world: w, answers: no, ROLL.replace("'prod',", "'prod', approve: true, approveWithin: ${v},"))
                assert b.step('timeout').args.time == minutes
            }
        }
        test('in a node of the caller the question is asked there') {
            def w = new World()
            def b = build(job: job(), world: w, answers: [RollbackApprovePayments: 'bob'], "node { ${ROLL.replace("'prod',", "'prod', approve: true,")} }")
            assert b.result == 'SUCCESS' && b.nodes == 1
            assert w.running() == w.facts.WORLD_GOOD
        }
    }

    private void others() {
        test('a revert waits for its merge as UNSTABLE with the link, and the next build goes on') {
            def w = new World(), j = job()
            def revert = ROLL.replace("'retag'", "'revert'")
            def b = build(job: j, world: w, revert)
            assert b.result == 'UNSTABLE'
            def link = b.returned.pullRequest
            assert link =~ /\/acme\/payments\/pull\/\d+$/
            assert b.description.startsWith('PENDING payments/prod') && b.description.contains(link)
            assert b.log.any { it.startsWith('WARNING: PENDING, build again to go on') && it.contains(link) }
            assert w.running() == w.facts.WORLD_BAD
            w.merge()
            b = build(job: j, world: w, revert)
            assert b.result == 'SUCCESS'
            assert w.running() != w.facts.WORLD_BAD
        }
        test('undo takes it back, without a choice') {
            def w = new World(), j = job()
            build(job: j, world: w, ROLL)
            def b = build(job: j, world: w, "rollbackStage(service: 'payments', environment: 'prod', method: 'undo', choose: true, reason: 'false alarm')")
            assert b.result == 'SUCCESS' && !b.step('input')
            assert w.running() == w.facts.WORLD_BAD
        }
        test('what has been done already needs no approval') {
            def w = new World(), j = job()
            build(job: j, world: w, ROLL)
            def b = build(job: j, world: w, ROLL.replace("'prod',", "'prod', approve: true, to: '${w.facts.WORLD_GOOD_COMMIT}',"))
            assert b.result == 'SUCCESS' && !b.step('input')
            assert b.log.any { it.contains('is there already, so there is nothing to approve') }
            assert w.running() == w.facts.WORLD_GOOD
        }
    }

    private void abort() {
        test('what was approved and begun goes on without being approved again') {
            def w = new World(), j = job()
            def revert = ROLL.replace("'retag'", "'revert', approve: true")
            def b = build(job: j, world: w, answers: [RollbackApprovePayments: 'bob'], revert)
            assert b.result == 'UNSTABLE' && b.step('input')
            w.merge()
            b = build(job: j, world: w, revert)
            assert b.result == 'SUCCESS' && !b.step('input')
            assert b.log.any { it.contains('payments/prod goes on with ') }
            assert w.running() != w.facts.WORLD_BAD
        }
        test('an aborted build leaves a record, and the next one finishes it') {
            def w = new World(), j = job()
            w.ask('hold') // so that the rollout surely still waits when the signal comes
            def b = build(job: j, world: w, watch: { Build at, String line, Process p ->
                if (line.contains('new pods started') && !at.aborted) {
                    at.aborted = true
                    p.toHandle().destroy() // as Jenkins does; unlike Process, it leaves the streams open
                }
            }, ROLL)
            assert b.result == 'ABORTED'
            assert b.log.any { it.contains('interrupted') }: b.log
            assert new File(b.artifacts, RECORD).list().any { it.endsWith('.jsonl') }: 'the journal of an aborted build is not archived'
            def r = result(b, RECORD + 'result.txt')
            assert r.exit == '4'
            assert b.description.startsWith('PRODUCTION CHANGED, NOT VERIFIED: payments/prod: interrupted') && b.description.readLines().size() == 1

            w.ask('release')
            b = build(job: j, world: w, ROLL)
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
            assert result(b, RECORD + 'result.txt').run == r.run: 'it was begun anew'
        }
    }

    private void lost() {
        test('a build whose agent is lost says why it failed, and that production is not known') {
            def w = new World()
            w.ask('hold')
            def b = build(job: job(), world: w, watch: { Build at, String line, Process p ->
                if (line.contains('new pods started') && !at.lost) {
                    at.lost = true
                    p.toHandle().destroyForcibly()
                }
            }, ROLL)
            assert b.result == 'FAILURE' && b.failure.message.contains('was deleted'): 'the cause is hidden'
            assert b.description == STARTED
            assert b.log.any { it.contains('the files of payments/prod are not in the archive') }
        }
        test('an archive that takes no files fails no rollback') {
            def w = new World()
            def b = build(job: job(), world: w, watch: { Build at, String line, Process p -> at.full = true }, ROLL)
            assert b.result == 'SUCCESS' && b.description.startsWith('payments/prod is back on ')
            assert b.log.any { it.contains('the files of payments/prod are not in the archive') }
        }
        test('a restart that was aborted says what production is, a verification that was does not') {
            def w = new World()
            w.ask('hold')
            def aborts = { Build at, String line, Process p ->
                if (line.contains('new pods started') && !at.aborted) {
                    at.aborted = true
                    p.toHandle().destroy()
                }
            }
            def b = build(job: job(), world: w, watch: aborts, "rolloutRestart(service: 'payments', environment: 'prod', reason: 'x')")
            assert b.result == 'ABORTED' && b.description.startsWith('PRODUCTION CHANGED, NOT VERIFIED: payments/prod')
            b = build(job: job(), world: w, "rolloutRestart(service: 'payments', environment: 'prod', reason: 'x', dryRun: true)")
            assert b.descriptions.size() == 1
            b = build(job: job(), world: new World(), "verifyRollback(service: 'payments', environment: 'prod')")
            assert b.descriptions.size() == 1
        }
    }

    private void parallel() {
        test('parallel stages of several services have files and questions of their own') {
            def w = new World()
            def b = build(job: job(), world: w, answers: [RollbackApprovePayments: 'bob', RollbackApproveWeb: new Interrupted('no')], """
                def results = [:]
                parallel(
                    payments: { results.payments = ${ROLL.replace("'prod',", "'prod', approve: true,")} },
                    web: { rollbackStage(service: 'web', environment: 'prod', method: 'retag', reason: 'x', dryRun: true) },
                    checkout: { results.checkout = rollbackStatus(service: 'checkout', environment: 'prod') })
                results""")
            assert b.result == 'FAILURE': 'web has nothing to go back to'
            assert w.running() == w.facts.WORLD_GOOD
            assert new File(b.artifacts, RECORD + 'result.txt').exists()
            assert new File(b.artifacts, 'rollback-record/web-prod/plan.txt').exists()
            assert b.description.readLines().size() == 2
            assert b.steps*.branch.unique().containsAll(['payments', 'web', 'checkout'])
        }
    }
}
