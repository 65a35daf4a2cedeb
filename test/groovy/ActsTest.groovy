import static Suite.test
import static Pipelines.*

/** The steps of one act each, against the real program and the loopback world. */
class ActsTest {
    static final String WHERE = "service: 'payments', environment: 'prod'"

    void run() {
        test('a stage each: retag, restart, verify in one withRollback') {
            def w = new World()
            def b = build(job: job(), world: w, """node {
                withRollback(${WHERE}) {
                    stage('Tag') { retagImage(reason: 'amounts are wrong', to: '${w.facts.WORLD_OLDER_COMMIT}') }
                    stage('Restart') { rolloutRestart(reason: 'pull the older image') }
                    stage('Verify') { verifyRollback() }
                }
            }""")
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_OLDER
            assert b.all('sh').size() == 4: 'the program is looked for once'
            assert b.description.readLines().size() == 3
            assert b.returned.act == 'verify' && b.returned.to == w.facts.WORLD_OLDER
            assert b.all('archiveArtifacts')*.args*.artifacts.unique() == ['rollback-record/payments-prod/**']
        }
        test('each act takes an agent when it is not on one, and says what it takes from the page') {
            def w = new World(), j = job()
            j.definitions = [Steps.describable('string', [[name: 'ROLLBACK_TO', defaultValue: 'previous']]), Steps.describable('choice', [[name: 'ROLLBACK_METHOD', choices: ['none', 'revert']]]),
                Steps.describable('string', [[name: 'ROLLBACK_REASON']])]
            def page = [ROLLBACK_REASON: 'from the page', ROLLBACK_METHOD: 'none']
            def b = build(job: j, world: w, params: page, "retagImage(${WHERE})")
            assert b.result == 'SUCCESS' && b.nodes == 1
            assert b.returned.to == w.facts.WORLD_GOOD
            b = build(job: j, world: w, params: page, "rolloutRestart(${WHERE})")
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
            b = build(job: j, world: w, params: page, "verifyRollback(${WHERE})")
            assert b.result == 'SUCCESS': "previous of the page is not what must run now"
            b = build(job: j, world: w, params: page, "verifyRollback(${WHERE}, to: '${w.facts.WORLD_BAD_COMMIT}')")
            assert b.result == 'FAILURE'
        }
        test('revertPullRequest opens one pull request, however often it is built') {
            def w = new World(), j = job()
            j.definitions = [Steps.describable('string', [[name: 'ROLLBACK_TO', defaultValue: 'previous']])]
            def b = build(job: j, world: w, "revertPullRequest(${WHERE}, commit: '${w.facts.WORLD_BAD_COMMIT}', reason: 'amounts are wrong')")
            assert b.result == 'SUCCESS'
            def link = b.returned.pullRequest
            assert link =~ /\/pull\/\d+$/ && b.description.contains(link)
            b = build(job: j, world: w, "revertPullRequest(${WHERE}, pr: 4, reason: 'amounts are wrong')")
            assert b.result == 'SUCCESS' && b.returned.pullRequest == link
        }
        test('rollbackStatus returns texts, of one service and of all') {
            def w = new World()
            build(job: job(), world: w, StageTest.ROLL)
            def s = build(job: job(), world: w, "rollbackStatus(${WHERE})")
            assert s.result == 'SUCCESS' && s.description == null
            assert s.returned.running == w.facts.WORLD_GOOD && s.returned.state == 'mitigated' && s.returned.reason == 'amounts are wrong'
            assert s.returned.by == 'alice' && s.returned.overdue == 'false' && s.returned.pullRequest =~ /\/pull\/\d+$/
            assert s.returned.every { k, v -> k instanceof String && v instanceof String }
            def all = build(job: job(), world: w, "rollbackStatus(environment: 'prod')").returned
            assert all.services.split(',') as List == ['checkout', 'payments', 'web']
            assert all.'payments.running' == w.facts.WORLD_GOOD
        }
        test('rollbackStatus says what it could not do') {
            def w = new World()
            def b = build(job: job(), world: w, "rollbackStatus(service: 'payments', environment: 'nowhere')")
            assert b.result == 'FAILURE' && b.failure.message.contains('nowhere')
        }
        test('rollbackDoctor passes where all is well, and fails where it is not') {
            def w = new World()
            def b = build(job: job(), world: w, "rollbackDoctor(${WHERE})")
            assert b.result == 'SUCCESS'
            assert b.returned.failed == '0' && b.returned.checks.toInteger() > 4
            b = build(job: job(), world: w, "rollbackDoctor(${WHERE}, clusterContext: 'nowhere')")
            assert b.result == 'FAILURE'
        }
        test('an act that is killed is not known to have done nothing') {
            def w = new World()
            w.ask('hold')
            def b = build(job: job(), world: w, watch: { Build at, String line, Process p ->
                if (line.contains('new pods started')) {
                    p.toHandle().destroyForcibly()
                }
            }, "rolloutRestart(${WHERE}, reason: 'x')")
            assert b.result == 'FAILURE'
            assert b.failure.message.contains('PRODUCTION CHANGED, NOT VERIFIED') && b.failure.message.contains('ended before it could say how')
        }
    }
}
