"""The contract, checked: one scan, the expectations, the quarantine and the gate.

In come a contract and rows; out go a verdict, and refused rows with their reasons; or, from rows, a
suggested contract. Read `contract_check` first.
"""
