class ParametersTest { void run() {} }
