// revertPullRequest only opens the revert pull request: an exact inverse, without a clone.
List own() {
    return ['pr', 'commit', 'to', 'from', 'reason', 'draft', 'autoMerge', 'acceptMigrations', 'dryRun', 'user']
}

Map call(Map args = [:]) {
    List and = []
    if (rollbackCommand.text(args.get('pr')) + rollbackCommand.text(args.get('commit')) != '') {
        and = ['ROLLBACK_TO=', 'ROLLBACK_FROM='] // the caller says what to undo: the job's page does not say it again
    }
    return rollbackCommand.act('revertPullRequest', 'revert', args, own(), and)
}
