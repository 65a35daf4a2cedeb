// verifyRollback proves what the pods run, by digest. ROLLBACK_TO of the job's page says where a rollback goes, from where
// the pods were then; what must run now is what the record or the moving tag names, unless the caller says so.
List own() {
    return ['to', 'noRecord', 'user']
}

Map call(Map args = [:]) {
    return rollbackCommand.act('verifyRollback', 'verify', args, own(), ['ROLLBACK_TO=' + rollbackCommand.text(args.get('to'))])
}
