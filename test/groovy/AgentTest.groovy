class AgentTest { void run() {} }
