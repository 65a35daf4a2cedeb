import static Suite.test
import static Pipelines.*

/** rollbackStage against the real program and the loopback world. */
class StageTest {
    void run() {
        test('the method none does nothing and says so') {
            def b = build(job: job(), "rollbackStage(service: 'payments', environment: 'prod', method: 'none')")
            assert b.result == 'SUCCESS'
            assert b.names() == ['echo']
            assert b.log.contains('rollback: payments/prod stays as it is, the method is none.')
        }
        test('a rollback from the stage, end to end') {
            def w = new World()
            def b = build(job: job(), world: w, "rollbackStage(service: 'payments', environment: 'prod', method: 'retag', reason: 'amounts are wrong')")
            assert b.result == 'SUCCESS'
            assert w.running() == w.facts.WORLD_GOOD
        }
    }
}
