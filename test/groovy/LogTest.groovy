import static Suite.test
import static Pipelines.*

/** The log in docs/jenkins.md is that of a build here, with steady names for what differs from one run to the next. */
class LogTest {
    static final File PAGE = new File(library, 'docs/jenkins.md')
    static final String BEGIN = '<!-- log: UPDATE=1 CLASSES=LogTest make groovy writes it -->\n```text\n', END = '```\n<!-- /log -->\n'

    void run() {
        test('docs/jenkins.md shows what a build prints') {
            def now = steady(new World()), text = PAGE.getText('UTF-8')
            def from = text.indexOf(BEGIN), to = text.indexOf(END, from)
            assert from >= 0 && to >= 0: "${PAGE} has no log between ${BEGIN} and ${END}"
            if (System.getProperty('test.update')) {
                PAGE.setText(text.substring(0, from) + BEGIN + now.join('\n') + '\n' + text.substring(to), 'UTF-8')
                return
            }
            def page = text.substring(from + BEGIN.length(), to).readLines()
            assert lasting(page).join('\n') == lasting(now).join('\n'): 'UPDATE=1 CLASSES=LogTest make groovy writes it anew'
        }
    }

    /** The log of a job that is all rollback, with approval and credentials. */
    private List<String> steady(World w) {
        def j = job('payments'), e = w.env
        def script = "rollbackPipeline(service: 'payments', environment: 'prod', approve: true, node: 'deploy', github: true, aws: true, kubeconfig: true)"
        def bare = agent(e.findAll { it.key.startsWith('AWS_ENDPOINT') || it.key in ['AWS_REGION', 'AWS_EC2_METADATA_DISABLED', 'ROLLBACK_CONFIG', 'JENKINS_TOKEN'] })
        def credentials = ['rollback-github': e.GITHUB_TOKEN, 'rollback-aws': [e.AWS_ACCESS_KEY_ID, e.AWS_SECRET_ACCESS_KEY], 'rollback-kubeconfig': [file: new File(e.KUBECONFIG).text]]
        build(job: j, agent: bare, credentials: credentials, script)
        def b = build(job: j, agent: bare, credentials: credentials, params: [ROLLBACK_REASON: 'amounts are wrong'], answers: [RollbackApprove: 'bob'], script)
        assert b.result == 'SUCCESS'
        def names = [
            (w.facts.WORLD_BAD_COMMIT[0..6]): '126e403', (w.facts.WORLD_GOOD_COMMIT[0..6]): '6d00a7c',
            (w.facts.WORLD_GOOD - 'sha256:'): 'c8fe1c51f76a97c9f8fc887d4138666b2b8d642e75b2c99de7f5213697515823', // before its beginning
            ((w.facts.WORLD_BAD - 'sha256:')[0..11]): 'fd9e940ca16b', ((w.facts.WORLD_GOOD - 'sha256:')[0..11]): 'c8fe1c51f76a',
            (j.home.path + '/agents/deploy'): '/home/jenkins',
        ]
        def forms = [
            (/^rollback version .*/): 'rollback version v1.4.0 8c1d9e2f3a4b 2026-11-20T09:12:44Z',
            (/\b\d{8}t\d{6}z-[0-9a-f]{4}\b/): '20261129t031205z-aa60',
            (/https:\/\/127\.0\.0\.1:\d+/): 'https://prod.example.com', (/http:\/\/127\.0\.0\.1:\d+\/acme/): 'https://github.com/acme',
            (/\bpushed \d+m ago/): 'pushed 42m ago', (/\bby \d\d:\d\d UTC/): 'by 04:12 UTC',
            (/^(✔ rollout   \d+ new pods).*/): '$1  34.1s', (/, ready for .*/): ', ready for 10s  10.0s', (/(proven on \d+ pods)(  \([0-9.ms]+\))?$/): '$1  (46s)',
        ]
        b.log.findAll { !it.startsWith('[Pipeline]') || it.startsWith('[Pipeline] { (') }.collect { line ->
            names.each { was, now -> line = line.replace(was, now) }
            forms.each { was, now -> line = line.replaceAll(was, now) }
            line
        }
    }

    /** Without the lines that come only if something takes long enough. */
    private static List<String> lasting(List<String> lines) { lines.findAll { !(it =~ /^(◎ (deployment|statefulset)\/|► )/) } }
}
