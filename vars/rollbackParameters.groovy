// rollbackParameters are the parameters of the "Build with Parameters" page, for properties([parameters(...)]). Each is
// named like the variable of the flag it stands for, and says what the flag says.
List own() {
    return ['none', 'services', 'environments', 'also']
}

List call(Map args = [:]) {
    rollbackCommand.check('rollbackParameters', args, own())
    List list = []
    if (args.containsKey('services')) {
        list.add(chosen('ROLLBACK_SERVICE', args.get('services'), 'service to roll back'))
    }
    if (args.containsKey('environments')) {
        list.add(chosen('ROLLBACK_ENVIRONMENT', args.get('environments'), 'environment it runs in'))
    }
    list.add(choice(name: 'ROLLBACK_METHOD', choices: args.get('none') == false ? ['retag', 'revert', 'undo'] : ['none', 'retag', 'revert', 'undo'], description: 'METHOD'))
    list.add(string(name: 'ROLLBACK_TO', defaultValue: 'previous', trim: true, description: 'TO'))
    return list + (args.get('also') ?: [])
}
