// The one-click jobs of `rollback`, by Job DSL: for those who keep all jobs in code. They are the jobs that `rollback jobs apply`
// makes from rollback.yaml. Use one of the two: that command leaves alone what it did not make, unless it is told to --adopt.
//
// Parameters and script are those of the program: go test ./commands -run TestExamples -update writes them anew.

// What differs from the built-in settings, in the order of rollback.yaml: the keys are the program's flags in camelCase.
def services = [
    payments: [repo: 'acme/payments', job: 'deploy/payments'],
    web: [repo: 'acme/web-app', image: 'frontend/web', job: 'deploy/web'],
]
def environments = [
    prod: [namespace: 'prod', confirm: true, approve: true, registryKind: 'ecr', registryAccount: '123456789012', registryRegion: 'eu-west-1', clusterContext: 'prod'],
    staging: [namespace: 'staging', registryKind: 'ecr', registryAccount: '123456789012', registryRegion: 'eu-west-1', clusterContext: 'staging'],
]

// A text as the script's source has it.
def literal = { value -> value instanceof Boolean ? value.toString() : "'" + value.replace('\\', '\\\\').replace("'", "\\'") + "'" }

folder('rollback')
environments.each { environment, where ->
    folder('rollback/' + environment)
    services.each { service, own ->
        def keys = [service: service, environment: environment] + own + where
        pipelineJob('rollback/' + environment + '/' + service) {
            description('Takes ' + service + ' in ' + environment + ' back to an earlier version, and proves what its pods run.\n\nBuild with Parameters: say why in ROLLBACK_REASON, then Build. Tick ROLLBACK_DRY_RUN to see the plan first; ROLLBACK_TO says where to, ROLLBACK_METHOD how.\n\nMade by Job DSL: change it there, not here.')
            parameters {
                choiceParam('ROLLBACK_METHOD', ['retag', 'revert', 'undo'], 'how: retag moves the tag and restarts, revert undoes the commit and follows its build, undo takes the last rollback back (default: retag)')
                stringParam('ROLLBACK_TO', 'previous', 'target: previous, a commit, a tag or a digest (default: previous)')
                stringParam('ROLLBACK_REASON', '', 'why, for the record and for whoever meets the lock')
                booleanParam('ROLLBACK_DRY_RUN', false, 'show the plan and stop')
                stringParam('ROLLBACK_ACCEPT', '', 'go on in spite of these blocking findings, codes separated by commas')
                booleanParam('ROLLBACK_ACCEPT_MIGRATIONS', false, 'the older code works with the newer schema: undo migrations\' code all the same')
                stringParam('ROLLBACK_WAIT', '', 'with --method revert: how long to wait for the merge, merge for an hour (default: not at all, exit 3)')
                stringParam('ROLLBACK_ID', '', 'leave empty: rollback trigger finds its own build by it')
            }
            configure { job -> // the first run replaces these parameters; without this note it would add its own to them
                job / 'actions' / 'org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction' / 'jobPropertyDescriptors' << {
                    string('hudson.model.ParametersDefinitionProperty')
                }
            }
            definition {
                cps {
                    script('@Library(\'rollback\') _\n\nrollbackPipeline(\n' + keys.collect { key, value -> '    ' + key + ': ' + literal(value) }.join(',\n') + '\n)')
                    sandbox(true)
                }
            }
        }
    }
}
