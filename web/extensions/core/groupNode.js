// For scripts of node packs that ask about group nodes, which are subgraphs here.
export const GroupNodeHandler = { isGroupNode: () => false, getGroupData: () => undefined, getHandler: () => undefined };
export class GroupNodeConfig {}
export default { GroupNodeHandler, GroupNodeConfig };
