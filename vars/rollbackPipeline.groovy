// rollbackPipeline is a whole job in one line: the page "Build with Parameters" for one service, or for those to choose from.
List own() {
    return ['services', 'environments', 'method', 'to', 'reason', 'dryRun', 'accept', 'acceptMigrations', 'wait', 'steal', 'noRecord', 'user',
        'choose', 'approve', 'submitter', 'approveWithin', 'also']
}

Map call(Map args = [:]) {
    rollbackCommand.check('rollbackPipeline', args, own())
    boolean first = !params.containsKey('ROLLBACK_REASON')
    Map page = [none: false, also: args.get('also') ?: []]
    for (Object pair : [['service', 'services'], ['environment', 'environments']]) {
        if (rollbackCommand.text(args.get(pair[0])) == '') { // not fixed, so a person says it: from a list, or in a field
            page.put(pair[1], args.get(pair[1]) ?: [])
        }
    }
    List job = [parameters(rollbackParameters(page))]
    if (!page.containsKey('services') && !page.containsKey('environments')) { // of several, one that waits for an answer must not hold up the others
        job.add(disableConcurrentBuilds())
    }
    properties(job)
    if (first && rollbackCommand.text(args.get('reason')) == '') {
        echo('rollback: the page of this job is ready: Build with Parameters. Nothing was started.')
        rollbackCommand.describe('the page is ready: Build with Parameters')
        return [method: 'none', exit: '0']
    }
    Map stage = [:]
    for (Object key : args.keySet().toList()) {
        if (!(key.toString() in ['services', 'environments', 'also'])) {
            stage.put(key.toString(), args.get(key))
        }
    }
    stage.put('phases', true)
    stage.put('inputId', '')
    if (rollbackCommand.value(args, 'method') == '') {
        stage.put('method', 'retag')
    }
    return rollbackStage.roll(stage)
}
